// An error with a message for the user: what happened, and what to do.

export class Problem extends Error {
  /** `field`: the invalid field of the request; `wait_s`: seconds until a retry may succeed. */
  constructor(message, { status = 0, code = null, field = null, wait_s = null, id = null, retry = true } = {}) {
    super(message);
    Object.assign(this, { status, code, field, wait_s, id, retry });
  }

  /** From an error envelope of the server. */
  static of(status, envelope, headers = new Headers()) {
    const { message, code = null, param: field = null } = envelope?.error ?? {};
    const wait_s = Number(headers.get("retry-after")) || null;
    const known = { status, code, field, wait_s, id: headers.get("x-request-id") };
    const repeat = status === 429 || status >= 500;
    const retry = headers.get("x-should-retry") ? headers.get("x-should-retry") !== "false" : repeat;
    return new Problem(message ?? words(status), { ...known, retry });
  }

  /** From any thrown value. */
  static from(error) {
    if (error instanceof Problem) return error;
    if (error instanceof TypeError && /fetch|network|load/i.test(error.message)) {
      return new Problem("The server does not answer. Check that it runs and that you are connected, then retry.");
    }
    return new Problem(error.message || "Something went wrong in the page. Reload it and try again.");
  }

  get isKey() {
    return this.status === 401;
  }
}

function words(status) {
  if (status === 413) return "The request is too large for the server. Send less.";
  if (status === 404) return "The server does not know this address. Reload the page.";
  if (status >= 500) return `The server failed (${status}). Retry in a moment.`;
  return `The server refused the request (${status}).`;
}
