// Room names and IDs, as the server takes them: 1 to 128 characters of printable ASCII without space and . , / # * >
//
// A *Full ID* is `<name>+<random>`: the part before the `+` is who you are (tokens belong to it), the part after it
// tells your tabs and devices apart. A name ending in `-screen` is the same person's screen.

const RANDOM_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"; // 32 of them: no modulo bias, nothing that looks alike

/** What is wrong with a room name or an ID, in words, or "" when nothing is. */
export function nameProblem(text) {
  if (text === "") return "Please fill this in.";
  if (text.length > 128) return "At most 128 characters, please.";
  if (/\s/.test(text)) return "No spaces, please: use - or _ instead.";
  const refused = text.match(/[.,/#*>]/);
  if (refused) return `The character ${refused[0]} can't be used here.`;
  if (!/^[!-~]+$/.test(text)) return "Only plain letters, digits and signs (ASCII), please.";
  return "";
}

/** `length` random letters and digits from the browser's cryptographic generator. */
export function randomText(length) {
  const bytes = crypto.getRandomValues(new Uint8Array(length));
  return Array.from(bytes, (byte) => RANDOM_LETTERS[byte % RANDOM_LETTERS.length]).join("");
}

/** Makes a Full ID from a name; what already is one stays as it is. */
export function fullIdOf(name) {
  return name.includes("+") ? name : `${name}+${randomText(5)}`;
}

/** The Full ID of the same person's screen: `alice+k3x9` becomes `alice-screen+k3x9`. */
export function screenIdOf(fullId) {
  const [name, ...rest] = fullId.split("+");
  return [`${name}-screen`, ...rest].join("+");
}

/** The ID of a Full ID: what tokens belong to, and whose media one is never sent. */
export function baseOf(fullId) {
  return fullId.split("+")[0].replace(/-screen$/, "");
}

/** How a Full ID is shown to people. */
export function displayName(fullId) {
  const name = fullId.split("+")[0];
  const screen = name.match(/^(.+)-screen$/);
  return screen ? `${screen[1]}’s screen` : name || fullId;
}
