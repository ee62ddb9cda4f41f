/** Makes elements with plain calls. Text is always a text node, so text from a peer is never markup. */

export type Child = Node | string | null;

export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  className = "",
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const node = document.createElement(tag);
  if (className) node.className = className;
  for (const child of children) if (child !== null) node.append(child);
  return node;
}

/** The setters touch the page only for a change, because a card is redrawn several times a second. */
export function setText(node: Node, text: string): void {
  if (node.textContent !== text) node.textContent = text;
}

export function setShown(node: HTMLElement, shown: boolean): void {
  if (node.hidden === shown) node.hidden = !shown;
}

export function setAttribute(node: Element, name: string, value: string | null): void {
  if (node.getAttribute(name) === value) return;
  if (value === null) node.removeAttribute(name);
  else node.setAttribute(name, value);
}

export function setStyle(node: HTMLElement, name: string, value: string): void {
  if (node.style.getPropertyValue(name) !== value) node.style.setProperty(name, value);
}

let given = 0;

/** A unique id for aria-describedby and similar attributes. */
export function freshId(): string {
  given += 1;
  return `nbferry-${Date.now().toString(36)}-${given}`;
}

const SHAPES = {
  up: "M8 13V3.5M3.8 7.5 8 3.3l4.2 4.2",
  down: "M8 3v9.5M3.8 8.5 8 12.7l4.2-4.2",
  check: "M3 8.6 6.4 12 13 4.6",
  cross: "M4 4l8 8M12 4l-8 8",
  pause: "M5.5 3.5v9M10.5 3.5v9",
  wait: "M8 4.2V8l2.6 1.8M14 8A6 6 0 1 1 2 8a6 6 0 0 1 12 0z",
  warn: "M8 2.5 14.2 13.2H1.8zM8 6.6v3M8 11.3v.2",
  folder: "M1.8 12.8V3.4h4.4l1.6 1.8h6.4v7.6z",
  file: "M3.5 1.8h5.8l3.2 3.3v9.1h-9zM9.2 2v3.3h3.2",
  tray: "M8 2v7.5M4.6 6.2 8 9.6l3.4-3.4M2.2 10.5v3.2h11.6v-3.2",
} as const;

export type Shape = keyof typeof SHAPES;

const SVG = "http://www.w3.org/2000/svg";

/** A line drawing in the colour of the text. It repeats the words beside it, so screen readers skip it. */
export function icon(shape: Shape): SVGSVGElement {
  const svg = marked(document.createElementNS(SVG, "svg"), {
    viewBox: "0 0 16 16",
    class: "nf-icon",
    "aria-hidden": "true",
  });
  svg.append(marked(document.createElementNS(SVG, "path"), { d: SHAPES[shape] }));
  return svg;
}

/** Replace an icon's drawing if it differs. */
export function setIcon(svg: SVGSVGElement, shape: Shape): void {
  const path = svg.firstElementChild;
  if (path) setAttribute(path, "d", SHAPES[shape]);
}

/** A real button; the caller styles it. */
export function bareButton(style: string, act: () => unknown, ...children: Child[]): HTMLButtonElement {
  const node = make("button", style, ...children);
  node.type = "button";
  node.addEventListener("click", () => void act());
  return node;
}

export function plainButton(label: string, act: () => unknown, style = "", shape?: Shape): HTMLButtonElement {
  return bareButton(`nf-button ${style}`, act, shape ? icon(shape) : null, make("span", "", label));
}

/** Give an element fixed attributes. */
export function marked<T extends Element>(node: T, values: Record<string, string>): T {
  for (const name in values) node.setAttribute(name, values[name] ?? "");
  return node;
}
