/** The Jupyter server of the page, if there is one. */

export interface Server {
  /** Its address, with "/" at the end. */
  base: string;
  /** The same for sockets. */
  sockets: string;
  token: string;
}

/** As the pages of JupyterLab, Notebook and Voilà name it; null in others, such as VS Code, Colab and marimo. */
export function findServer(page: Document = document): Server | null {
  const config = configOf(page);
  if (typeof config.baseUrl !== "string") return null;
  try {
    const base = new URL(slashed(config.baseUrl), page.location.href);
    if (!base.protocol.startsWith("http")) return null;
    const sockets = new URL(slashed(text(config.wsUrl) || base.href), base);
    sockets.protocol = sockets.protocol.replace(/^http/, "ws");
    return { base: base.href, sockets: sockets.href, token: text(config.token) };
  } catch {
    // It is not a valid address.
    return null;
  }
}

/** Whether the server offers lines. */
export async function hasLines(server: Server): Promise<boolean> {
  const response = await fetch(`${server.base}nbferry/version`);
  if (!response.ok) return false;
  const said: unknown = await response.json().catch(() => null);
  return typeof said === "object" && said !== null && "pages" in said;
}

/** The address of a line. Logs record addresses, so it has the token only where there can be no cookie. */
export function lineUrl(server: Server, name: string): string {
  const elsewhere = new URL(server.sockets).host !== new URL(server.base).host;
  const query = elsewhere && server.token ? `?token=${encodeURIComponent(server.token)}` : "";
  return `${server.sockets}nbferry/page/${name}${query}`;
}

/** The address of the server's own download. */
export function downloadUrl(server: Server, path: string, page: Document = document): string {
  const url = new URL(path, server.base);
  url.searchParams.set("download", "1");
  const xsrf = /\b_xsrf=([^;]*)/.exec(page.cookie)?.[1];
  if (xsrf) url.searchParams.set("_xsrf", xsrf);
  return url.href;
}

function configOf(page: Document): Record<string, unknown> {
  try {
    const config: unknown = JSON.parse(page.getElementById("jupyter-config-data")?.textContent || "{}");
    return typeof config === "object" && config !== null ? { ...config } : {};
  } catch {
    return {};
  }
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function slashed(url: string): string {
  return url.endsWith("/") ? url : `${url}/`;
}
