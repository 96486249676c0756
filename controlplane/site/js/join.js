// The form at the start of each page: room, name, token.

import { fullIdOf, nameProblem, randomText } from "./names.js";
import { el, hideToken, params } from "./ui.js";

const REMEMBERED = { room: "weever-room", id: "weever-name" };

function remember(key, value) {
  try {
    if (value === undefined) return localStorage.getItem(REMEMBERED[key]) ?? "";
    localStorage.setItem(REMEMBERED[key], value);
  } catch {
    // storage can be forbidden; then the form just starts empty
  }
  return "";
}

/**
 * Prefills the form from the query and from last time, checks it, and calls `join({ room, id, fullId, token })`.
 * Fields are inputs named `room`, `id` and `token`. `guest` makes up a name when none is given. `named: false` is for pages
 * that only watch: they don't take the remembered name, since nobody is sent what is published under their own name, and
 * trying Weever out in two tabs would show nothing.
 */
export class JoinForm {
  constructor(form, join, { guest = "guest", named = true } = {}) {
    this.form = form;
    this.guest = guest;
    this.named = named;
    const { room, id, token } = form.elements;
    if (room) room.value = params.get("room") || remember("room") || "lobby";
    if (id) id.value = params.get("id") || (named && remember("id")) || "";
    if (token) {
      token.value = params.get("token") ?? "";
    }
    for (const input of [token, params.has("id") && id]) if (input?.value) input.closest("details")?.setAttribute("open", "");
    hideToken();
    for (const input of [room, id, token]) input?.addEventListener("input", () => this.#mark(input, ""));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit(join);
    });
  }

  /** Switches between taking the remembered name and making one up; what the user typed stays. */
  setNamed(named) {
    const { id } = this.form.elements;
    if (id.value === remember("id") || id.value === "") id.value = named ? remember("id") : (params.get("id") ?? "");
    this.named = named;
  }

  /** Starts without a click when the address says `auto=1`. */
  autoStart() {
    if (params.get("auto") === "1") this.form.requestSubmit();
  }

  async submit(join) {
    const { room, id, token } = this.form.elements;
    this.clear();
    if (id && id.value.trim() === "" && this.guest) id.value = `${this.guest}-${randomText(4)}`;
    for (const input of [room, id]) {
      if (!input) continue;
      input.value = input.value.trim();
      const problem = nameProblem(input.value);
      if (problem) {
        this.#mark(input, problem);
        input.focus();
        return;
      }
    }
    if (room) remember("room", room.value);
    if (id && this.named && !id.value.startsWith(`${this.guest}-`)) remember("id", id.value);
    this.busy = true;
    try {
      await join({ room: room?.value, id: id?.value, fullId: id && fullIdOf(id.value), token: token?.value ?? "" });
    } catch (problem) {
      this.show(problem);
    } finally {
      this.busy = false;
    }
  }

  set busy(busy) {
    const button = this.form.querySelector("[type=submit]");
    button.disabled = busy;
    button.classList.toggle("busy", busy);
  }

  clear() {
    for (const input of this.form.elements) if (input.name) this.#mark(input, "");
    this.form.querySelector(".notice")?.remove();
  }

  /** Shows a Problem above the button, and marks the field that it is about. */
  show(problem) {
    this.clear();
    const { elements } = this.form;
    const input = problem.field && elements[problem.field];
    this.form.querySelector("[type=submit]").before(el("p", { class: "notice bad", role: "alert", text: problem.message }));
    if (!input) return;
    input.closest("details")?.setAttribute("open", "");
    input.setAttribute("aria-invalid", "true");
    input.focus();
  }

  #mark(input, text) {
    const id = `${input.form.id}-${input.name}-error`;
    document.getElementById(id)?.remove();
    if (!text) {
      input.removeAttribute("aria-invalid");
      input.removeAttribute("aria-errormessage");
      return;
    }
    input.setAttribute("aria-invalid", "true");
    input.setAttribute("aria-errormessage", id);
    input.after(el("small", { class: "field-error", role: "alert", id, text }));
  }
}
