/** Every text of the card. A translation is one more object in CATALOGUE; `{words}` in braces are filled in. */

import type { Command, Kind, State } from "../types";

/** One form for each of the language's plural categories; the number is `{n}`. */
export type Plural = Partial<Record<Intl.LDMLPluralRule, string>> & { other: string };

type Stories = Record<State, string>;

const RECEIVE: Stories = {
  waiting: "The sender is not there yet.",
  connecting: "Looking for a path to the sender.",
  offered: "Nothing is written before you accept.",
  hashing: "Finding out what need not travel.",
  transferring: "The sender is connected.",
  paused: "Nothing travels until it is resumed.",
  verifying: "Everything is there; its digests are compared.",
  writing: "Writing to the disk and moving to its place.",
  done: "It is in its place.",
  failed: "It could not be received.",
  rejected: "Nothing was transferred.",
  cancelled: "What had arrived of it was removed.",
  expired: "Nobody took it in time.",
};

const SEND: Stories = {
  ...RECEIVE,
  waiting: "Nobody has come yet.",
  connecting: "Looking for a path to the other side.",
  offered: "The other side is there and decides whether to accept.",
  transferring: "The other side is connected.",
  writing: "The other side writes to its disk.",
  done: "The other side has it.",
  failed: "It could not be sent.",
  cancelled: "Nothing more will be sent.",
};

const UPLOAD: Stories = {
  ...RECEIVE,
  waiting: "It has not begun yet.",
  connecting: "Looking for the files.",
  transferring: "From this browser to the kernel's folder.",
  done: "It is in the kernel's folder.",
  failed: "It could not be uploaded.",
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
  /** Who is there and what happens, seen from this side. */
  stories: { send: SEND, receive: RECEIVE, upload: UPLOAD },
  /** What a command does while nobody has answered it. */
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
  } as Record<string, string>,
  since: "{path} since {time}",
  /** What the live region says. */
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

  later: "It will act when the running cell ends.",
  nobody: "The kernel does not answer. If it was restarted, run nbferry.resume().",
  dismiss: "Dismiss",
  broken: "Something went wrong.",

  code: "Code",
  copy: "Copy",
  copied: "Copied",
  copyFailed: "It is selected now; press Ctrl+C or ⌘C.",
  codeUse: "In the other notebook: ",
  codeFor: "Give it only to whom you want to send to.",
  codeComes: "The code is on its way.",
  codeLater: "The code comes when the running cell ends.",
  wrong: {
    one: "Somebody tried a wrong code. After three wrong ones this code is burnt.",
    other: "Somebody tried {n} wrong codes. After three wrong ones this code is burnt.",
  } as Plural,

  receiveTitle: "Receive files",
  receiveHint: "The code that the sender's card shows.",
  receive: "Receive",
  offer: "Offered to you",
  reason: "Reason for rejecting",
  reasonHint: "Reason, if you like",

  sendTitle: "Send files",
  uploadTitle: "Upload to the kernel's folder",
  dropSend: "Drop files or folders of this computer here, or paste them.",
  dropUpload: "Drop files or folders here, or paste them.",
  dropNow: "Let go to add them",
  chooseFiles: "Choose files",
  chooseFolder: "Choose a folder",
  kernelFiles: "Files of the kernel",
  gathering: { one: "{n} file found…", other: "{n} files found…" } as Plural,
  starting: "Starting…",
  nothingPicked: "There was no file in it.",

  againTitle: "The files are needed again",
  againText: "Choose, drop or paste the same ones. What has arrived is kept; only the rest travels.",
  again: "Choose the same files again",
  goOn: "Go on with the same files",

  send: "Send",
  close: "Close",
  folderUp: "The folder above",
  folderOf: "Folder",
  folderEmpty: "There is nothing in this folder.",
  folderName: "{name} (folder)",
  modified: "changed {when}",
  entriesLeft: { one: "and {n} more that is not shown", other: "and {n} more that are not shown" } as Plural,
  chosenNone: "Nothing is chosen yet.",
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
  durableTip: "On the disk for good",
  reused: "Already there",
  reusedTip: "Of an older copy: it did not have to travel",
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
  browserSaves: "The browser downloads it; see its list of downloads.",

  notify: "Notify me",
  notifyOn: "You will be notified when it ends.",
};

export type Strings = typeof ENGLISH;

const CATALOGUE: Record<string, Strings> = { en: ENGLISH };

/** The texts, and the language they are in: the document's if there is a translation, else English. */
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
    return false; // not even the form of a language tag
  }
}

/** Put values in the places that a text has for them. */
export function fill(text: string, values: Record<string, string>): string {
  return text.replace(/\{(\w+)\}/g, (whole, name: string) => values[name] ?? whole).trim();
}
