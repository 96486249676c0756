// The start page: a room and a name, then a door. The doors are plain links; this keeps their addresses in step with the form.

import { nameProblem } from "../names.js";
import { params } from "../ui.js";

const form = document.getElementById("who");
const { room, id } = form.elements;
const notice = document.getElementById("operator");

function recall(key) {
  try {
    return localStorage.getItem(key) ?? "";
  } catch {
    return "";
  }
}

room.value = params.get("room") || recall("weever-room") || "lobby";
id.value = params.get("id") || recall("weever-name");

function update() {
  for (const [input, optional] of [[room, false], [id, true]]) {
    const value = input.value.trim();
    const problem = optional && value === "" ? "" : nameProblem(value);
    input.setAttribute("aria-invalid", String(problem !== ""));
    document.getElementById(`${input.name}-error`).textContent = problem;
  }
  for (const door of document.querySelectorAll("a.door")) {
    const url = new URL(door.getAttribute("href"), document.baseURI);
    url.search = new URLSearchParams({
      room: room.value.trim(),
      ...(id.value.trim() && !("guest" in door.dataset) && { id: id.value.trim() }),
    }).toString();
    door.href = url.href;
  }
}

form.addEventListener("input", update);
form.addEventListener("submit", (event) => {
  event.preventDefault();
  update();
  document.querySelector("a.door")?.focus();
});
update();

// The same site is served on the operator's port, where nobody can publish or watch: ask, and say so.
fetch("/pub/lobby/probe", { method: "OPTIONS" }).then(
  (response) => (notice.hidden = response.ok),
  () => {},
);
