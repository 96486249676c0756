// How many watch the room.
//
// A subscriber is told: its POST's answer has a Link to the session's events (WHEP's server-sent events extension), of which
// `viewercount` is one. POST the list of events that are wanted to that link; the answer's `Location` is an EventSource:
//
//   event: viewercount
//   data: {"viewercount":2}
//
// Where no such events are offered, to a publisher or by another server, the session's own URL is asked now and then.

const EVENT = "viewercount";
const ASK_MS = 2000;

/** Calls `told` with the number of viewers, at once and whenever it changes, until the function that it returns is called. */
export function followViewerCount(connection, told) {
  let stop = () => {};
  const look = () => {
    stop(); // a connection that came back has another session
    stop = () => {};
    if (connection.state === "live") stop = connection.events.has(EVENT) ? listen(connection, told) : ask(connection, told);
  };
  connection.addEventListener("state", look);
  look();
  return () => {
    connection.removeEventListener("state", look);
    stop();
  };
}

function listen(connection, told) {
  const stopped = new AbortController();
  let source = null;
  let stopAsking = () => {};
  const askInstead = () => {
    if (!stopped.signal.aborted) stopAsking = ask(connection, told);
  };
  const begin = async () => {
    const response = await fetch(connection.eventsUrl, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify([EVENT]),
      signal: stopped.signal,
    });
    if (response.status !== 201) throw new Error(`status ${response.status}`);
    source = new EventSource(new URL(response.headers.get("Location"), response.url));
    source.addEventListener(EVENT, ({ data }) => told(JSON.parse(data)[EVENT]));
    // A connection that breaks is made again by the browser; a stream that has ended is not.
    source.addEventListener("error", () => source.readyState === EventSource.CLOSED && askInstead());
  };
  begin().catch(askInstead);
  return () => {
    stopped.abort();
    source?.close();
    stopAsking();
  };
}

function ask(connection, told) {
  const once = async () => {
    const info = await connection.info();
    if (info) told(info.subscribers);
  };
  once();
  const timer = setInterval(once, ASK_MS);
  return () => clearInterval(timer);
}

/** Writes it into an element. Returns what stops it. */
export function showViewerCount(connection, element) {
  return followViewerCount(connection, (viewers) => {
    element.textContent = viewers === 1 ? "1 viewer" : `${viewers} viewers`;
  });
}
