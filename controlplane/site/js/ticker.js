// A worker that ticks. Timers of a page in the background are slowed down to one a second; a worker's are not.
let timer = null;
addEventListener("message", ({ data: intervalMs }) => {
  clearInterval(timer);
  timer = intervalMs ? setInterval(() => postMessage(0), intervalMs) : null;
});
