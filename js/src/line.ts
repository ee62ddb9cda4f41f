/** The line as a carrier: a WebSocket through the Jupyter server, which works while the kernel is busy. */

import type { Carrier } from "./calls";
import type { Clock } from "./clock";
import { type Bytes, type Message, NO_BYTES, Packer, unpack } from "./frames";

export interface LineEvents {
  came(line: Carrier): void;
  lost(line: Carrier): void;
  received(line: Carrier, message: Message, buffer: Bytes): void;
}

export type OpenSocket = () => WebSocket;

const FIRST_WAIT = 500;
// Milliseconds between two attempts.
const LONGEST_WAIT = 30_000;
// Longer, because a saved notebook may have many cards without a kernel.
const LONGEST_WITHOUT_KERNEL = 120_000;
// Milliseconds after which a socket counts as working.
const STEADY = 10_000;
const NO_KERNEL = 4404;
const TOO_MANY = 4429;

/** Opens one socket after the other until it is closed. */
export class Line {
  private socket: LineSocket | null = null;
  private wait = FIRST_WAIT;
  private openedAt = 0;
  private stopTimer: () => void = () => undefined;
  private closed = false;

  constructor(
    private readonly open: OpenSocket,
    private readonly clock: Clock,
    private readonly events: LineEvents,
    private readonly random: () => number = Math.random,
  ) {}

  start(): void {
    this.stopTimer();
    if (this.closed || this.socket) return;
    const socket = new LineSocket(this.open(), this.clock, {
      opened: () => {
        this.openedAt = this.clock.now();
        this.events.came(socket);
      },
      closed: (wasOpen, code) => {
        this.socket = null;
        if (wasOpen) this.events.lost(socket);
        this.again(wasOpen, code);
      },
      received: (message, buffer) => this.events.received(socket, message, buffer),
    });
    this.socket = socket;
  }

  close(): void {
    this.closed = true;
    this.stopTimer();
    this.socket?.close();
  }

  /** Try again at once, after a change of the network or the tab. */
  hurry(): void {
    this.wait = FIRST_WAIT;
    this.start();
  }

  private again(wasOpen: boolean, code: number): void {
    if (this.closed) return;
    const steady = wasOpen && this.clock.now() - this.openedAt >= STEADY;
    if (steady && code !== NO_KERNEL && code !== TOO_MANY) this.wait = FIRST_WAIT;
    this.stopTimer = this.clock.after(this.wait * (0.5 + this.random()), () => this.start());
    this.wait = Math.min(2 * this.wait, code === NO_KERNEL ? LONGEST_WITHOUT_KERNEL : LONGEST_WAIT);
  }
}

interface SocketEvents {
  opened(): void;
  closed(wasOpen: boolean, code: number): void;
  received(message: Message, buffer: Bytes): void;
}

const MOST_BUFFERED = 4 * 1024 * 1024;
// Milliseconds. Browsers do not report when a socket has room.
const LOOK_AGAIN = 15;

/** One socket; sends wait while too much is buffered. */
class LineSocket implements Carrier {
  readonly kind = "line";
  readonly part = 512 * 1024;
  private readonly packer = new Packer();
  // Orders messages with a buffer.
  private turn: Promise<void> = Promise.resolve();
  private letOn: () => void = () => undefined;
  private isOpen = false;

  constructor(
    private readonly socket: WebSocket,
    private readonly clock: Clock,
    events: SocketEvents,
  ) {
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      this.isOpen = true;
      events.opened();
    };
    socket.onclose = ({ code }) => {
      const wasOpen = this.isOpen;
      this.isOpen = false;
      events.closed(wasOpen, code);
      this.letOn();
    };
    socket.onmessage = ({ data }: MessageEvent<unknown>) => {
      const message = data instanceof ArrayBuffer ? unpack(data) : null;
      if (message) events.received(message.message, message.buffer);
      // A hidden tab has few timers, but it gets messages.
      this.letOn();
    };
  }

  async send(message: Message, buffer: Bytes = NO_BYTES): Promise<void> {
    if (buffer.length === 0) return this.write(message, buffer);
    const sent = this.turn.then(async () => {
      while (!this.hasRoom()) await this.change();
      this.write(message, buffer);
    });
    // The sender gets the error; the next message tries anew.
    this.turn = sent.catch(() => undefined);
    return sent;
  }

  close(): void {
    this.socket.close();
  }

  private write(message: Message, buffer: Bytes): void {
    if (!this.isOpen) throw new Error("The line is lost.");
    // The socket copies the packed message.
    this.socket.send(this.packer.pack(message, buffer));
  }

  private hasRoom(): boolean {
    return !this.isOpen || this.socket.bufferedAmount <= MOST_BUFFERED;
  }

  /** Wait until there may be room: a little while, or until a message arrives. */
  private change(): Promise<void> {
    return new Promise((resolve) => {
      const stopTimer = this.clock.after(LOOK_AGAIN, () => this.letOn());
      this.letOn = () => {
        stopTimer();
        this.letOn = () => undefined;
        resolve();
      };
    });
  }
}
