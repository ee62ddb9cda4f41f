/** Bounds memory: callers that want more bytes than are free wait in turn. */
export class Budget {
  private used = 0;
  private readonly waiting: { size: number; go: () => void }[] = [];

  constructor(private readonly limit: number) {}

  /** Wait for `bytes`; returns a function that frees them. A request above the limit is granted alone. */
  async take(size: number): Promise<() => void> {
    if (this.waiting.length > 0 || !this.fits(size)) {
      await new Promise<void>((go) => this.waiting.push({ size, go }));
    } else {
      this.used += size;
    }
    let given = false;
    return () => {
      if (given) return;
      given = true;
      this.used -= size;
      this.letOn();
    };
  }

  private fits(size: number): boolean {
    return this.used === 0 || this.used + size <= this.limit;
  }

  private letOn(): void {
    for (let next = this.waiting[0]; next && this.fits(next.size); next = this.waiting[0]) {
      this.waiting.shift();
      this.used += next.size;
      next.go();
    }
  }
}
