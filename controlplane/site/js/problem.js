// What can go wrong, in words that tell a person what to do next.

/** An error that is ready to be shown. `field` names the form field to look at, `retry` says whether trying again may help. */
export class Problem extends Error {
  constructor(message, { status = 0, field = null, retry = false, retryAfter = null } = {}) {
    super(message);
    this.name = "Problem";
    this.status = status;
    this.field = field;
    this.retry = retry;
    this.retryAfter = retryAfter;
  }
}

/** The Problem in an HTTP error response. Weever answers errors as `application/problem+json` (RFC 9457). */
export async function problemOf(response) {
  const type = response.headers.get("Content-Type") ?? "";
  let detail = null;
  if (type.includes("json")) {
    detail = await response.json().then((body) => body?.detail ?? body?.title ?? null, () => null);
  }
  const said = typeof detail === "string" && detail !== "" ? `The server said: ${detail}.`.replace("..", ".") : "";
  const { status } = response;
  const retryAfter = Number.parseFloat(response.headers.get("Retry-After")) || null;
  const problem = (text, more = {}) => new Problem(said ? `${text} ${said}` : text, { status, retryAfter, ...more });

  switch (status) {
    case 400:
      return problem("The server didn’t understand this request. Check the room and the name.", { field: "room" });
    case 401:
    case 403:
      return problem("This room asks for a token, and this one doesn’t fit. Enter the token you were given.", {
        field: "token",
      });
    case 404:
    case 405:
      return detail?.includes("room")
        ? problem("There is no such room. Check its name, or ask the operator to create it.", { field: "room" })
        : problem(
            "This address doesn’t take media: it may be the operator’s port. Open the site at the public address (port 8443 unless changed).",
          );
    case 409:
      return problem("This exact name is taken right now. Choose another one.", { field: "id" });
    case 413:
    case 415:
    case 422:
      return problem("The server can’t serve what this browser offered.");
    case 429:
    case 503:
      return problem("The server takes nobody in at the moment.", { retry: true });
    default:
      return problem(`The server answered ${status}.`, { retry: status >= 500 });
  }
}

/** The Problem of a request that got no answer at all. */
export function unreachable() {
  return new Problem("The server can’t be reached.", { retry: true });
}

/** The Problem in what getUserMedia or getDisplayMedia threw. */
export function captureProblem(error, source) {
  const what = { camera: "the camera", microphone: "the microphone", screen: "the screen" }[source] ?? "the device";
  switch (error?.name) {
    case "NotAllowedError":
      return new Problem(`The browser didn’t give ${what} away. Allow it beside the address bar, or choose the test pattern.`);
    case "NotFoundError":
    case "OverconstrainedError":
      return new Problem(`The browser didn’t find ${what}. Plug one in, or choose the test pattern.`);
    case "NotReadableError":
      return new Problem(`Another program seems to be using ${what}. Close it and try again.`);
    default:
      return new Problem(`The browser couldn’t open ${what}: ${error?.message ?? error}`);
  }
}
