/** Every text of the card. A translation is another object in CATALOGUE; `{words}` in braces are placeholders. */

import type { Command, Kind, Role, State, Via } from "../types";

/** A form for each plural category of the language; `{n}` is the number. */
export type Plural = Partial<Record<Intl.LDMLPluralRule, string>> & { other: string };

type Stories = Record<State, string>;

const RECEIVE: Stories = {
  waiting: "Waiting for the sender.",
  connecting: "Connecting to the sender.",
  offered: "Nothing is written until you accept.",
  hashing: "Checking which data is already there.",
  transferring: "The sender is connected.",
  paused: "Nothing is transferred until it is resumed.",
  verifying: "Everything has arrived. Comparing digests.",
  writing: "Writing to the disk.",
  done: "The files are in the destination folder.",
  failed: "The files could not be received.",
  rejected: "Nothing was transferred.",
  cancelled: "Data that had arrived was removed.",
  expired: "The offer was not accepted in time.",
};

const SEND: Stories = {
  ...RECEIVE,
  waiting: "Waiting for the receiver.",
  connecting: "Connecting to the receiver.",
  offered: "The receiver is deciding whether to accept.",
  transferring: "The receiver is connected.",
  writing: "The receiver is writing to its disk.",
  done: "The receiver has the files.",
  failed: "The files could not be sent.",
  cancelled: "Nothing more will be sent.",
};

const UPLOAD: Stories = {
  ...RECEIVE,
  waiting: "The upload has not started yet.",
  connecting: "Looking for the files.",
  transferring: "From this browser to the kernel's folder.",
  done: "The files are in the kernel's folder.",
  failed: "The files could not be uploaded.",
};

const ENGLISH = {
  kinds: { send: "Send", receive: "Receive", upload: "Upload", download: "Save" } as Record<Kind, string>,
  states: {
    waiting: "Waiting",
    connecting: "Connecting",
    offered: "Offered",
    hashing: "Comparing",
    transferring: "Transferring",
    paused: "Paused",
    verifying: "Verifying",
    writing: "Writing",
    done: "Done",
    failed: "Failed",
    rejected: "Rejected",
    cancelled: "Cancelled",
    expired: "Expired",
  } as Record<State, string>,
  /** What happens, as this side sees it. */
  stories: { send: SEND, receive: RECEIVE, upload: UPLOAD } as Record<Role, Stories>,
  /** Shown until the kernel answers a command. */
  doing: {
    pause: "Pausing…",
    resume: "Resuming…",
    cancel: "Cancelling…",
    accept: "Accepting…",
    reject: "Rejecting…",
  } as Record<Exclude<Command, "save">, string>,
  commands: {
    pause: "Pause",
    resume: "Resume",
    cancel: "Cancel",
    accept: "Accept",
    reject: "Reject",
    save: "Save",
  } as Record<Command, string>,
  paths: {
    direct: "direct",
    webrtc: "direct by WebRTC",
    relay: "through a relay",
    browser: "from this browser",
  } as Record<Via, string>,
  since: "{path} since {time}",
  /** What the live region announces. */
  news: {
    offered: "offered, {size}",
    started: "started",
    paused: "paused",
    resumed: "resumed",
    part: "{percent}",
    done: "done",
    failed: "failed. {reason}",
    cancelled: "cancelled",
    rejected: "rejected. {reason}",
    expired: "expired",
  },
  newsOf: "{what}: {news}",

  later: "This takes effect when the running cell ends.",
  silent: "The kernel does not answer. If it was restarted, run: import nbferry; nbferry.resume()",
  dismiss: "Dismiss",
  broken: "Something went wrong.",

  code: "Code",
  copy: "Copy",
  copied: "Copied",
  copyFailed: "The code is selected. Press Ctrl+C or ⌘C.",
  codeUse: "In the other notebook: ",
  codeFor: "Give it only to the person who is to receive the files.",
  codeComes: "Loading the code…",
  codeLater: "The code appears when the running cell ends.",
  wrong: {
    one: "Someone tried a wrong code. Too many wrong guesses make the code invalid.",
    other: "Someone tried {n} wrong codes. Too many wrong guesses make the code invalid.",
  } as Plural,

  receiveTitle: "Receive files",
  receiveHint: "The code from the sender's card",
  receive: "Receive",
  offer: "Offered to you",
  reason: "Reason for rejecting",
  reasonHint: "Reason (optional)",

  sendTitle: "Send files",
  uploadTitle: "Upload to the kernel's folder",
  dropSend: "Drop files or folders of this computer here, or paste them.",
  dropUpload: "Drop files or folders here, or paste them.",
  dropNow: "Drop to add them",
  chooseFiles: "Choose files",
  chooseFolder: "Choose a folder",
  kernelFiles: "The kernel's files",
  gathering: { one: "{n} file found…", other: "{n} files found…" } as Plural,
  starting: "Starting…",
  nothingPicked: "No file was found.",

  againTitle: "Choose the files again",
  againText: "Choose, drop or paste the same files. What arrived is kept; only the rest is sent.",
  again: "Choose the same files again",
  resumeSame: "Resume with the same files",

  send: "Send",
  close: "Close",
  folderUp: "Parent folder",
  folderOf: "Folder",
  folderEmpty: "This folder is empty.",
  folderName: "{name} (folder)",
  modified: "changed {when}",
  entriesLeft: { one: "and {n} more, not shown", other: "and {n} more, not shown" } as Plural,
  chosenNone: "Nothing chosen yet.",
  files: { one: "{n} file", other: "{n} files" } as Plural,
  folders: { one: "{n} folder", other: "{n} folders" } as Plural,
  and: "{one} and {two}",
  bytesIn: "{files} ({size})",

  all: "All files",
  fileList: "Files",
  moreFiles: { one: "and {n} more", other: "and {n} more" } as Plural,
  loading: "Loading…",
  percent: "{n} %",
  percentOf: "{percent} of {name}",
  of: "{part} of {all}",
  rate: "{size}/s",
  left: "{time} left",
  sent: "Sent",
  sentTip: "Given to the network",
  verified: "Verified",
  verifiedTip: "Arrived, and checked against its digest",
  durable: "Durable",
  durableTip: "Safely on the disk",
  reused: "Already there",
  reusedTip: "From an older copy, so it was not sent",
  empty: "empty",
  inTime: "{size} in {time}",
  average: "{rate} on average",
  everyByte: "every byte verified",
  digest: "digest",
  digestTip: "Digest of the whole content, the same on both sides: {digest}",

  save: "Save",
  saveTitle: "Save to this computer",
  saving: "Saving",
  saved: "Saved to this computer.",
  browserSaves: "The browser is downloading; see its list of downloads.",

  notify: "Notify me",
  notifyOn: "You will be notified when the transfer ends.",
};

export type Strings = typeof ENGLISH;

const CATALOGUE: Record<string, Strings> = { en: ENGLISH };

/** The texts and their language: the document's if there is a translation, else English. */
export interface Tongue {
  language: string;
  text: Strings;
}

export function tongue(wanted: string): Tongue {
  for (const language of [wanted, wanted.split("-")[0] ?? ""]) {
    const text = CATALOGUE[language];
    if (text) return { language: known(wanted) ? wanted : language, text };
  }
  return { language: "en", text: ENGLISH };
}

function known(language: string): boolean {
  try {
    return Intl.NumberFormat.supportedLocalesOf(language).length > 0;
  } catch {
    // It is not a valid language tag.
    return false;
  }
}

/** Fill in the placeholders of a text. */
export function fill(text: string, values: Record<string, string>): string {
  return text.replace(/\{(\w+)\}/g, (whole, name: string) => values[name] ?? whole).trim();
}
