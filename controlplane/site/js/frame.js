// The frame of every page: theme and header. A classic script in <head>, so that both are there before the first paint.
(() => {
  "use strict";

  const THEMES = ["auto", "light", "dark"];
  const PAGES = [
    ["publish.html", "Publish"],
    ["watch.html", "Watch"],
    ["conference.html", "Conference"],
    ["audio.html", "Audio chat"],
    ["broadcast.html", "Broadcast"],
    ["player.html", "Player"],
    ["manage.html", "Manage"],
  ];

  function stored() {
    try {
      const theme = localStorage.getItem("weever-theme");
      return THEMES.includes(theme) ? theme : "auto";
    } catch {
      return "auto"; // storage can be forbidden; the site works without it
    }
  }

  function apply(theme) {
    document.documentElement.dataset.theme = theme;
  }
  apply(stored());

  function icon(name) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("class", "icon");
    svg.setAttribute("aria-hidden", "true");
    const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
    use.setAttribute("href", `img/icons.svg#${name}`);
    svg.append(use);
    return svg;
  }

  function themeButton() {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "icon-button theme";
    const show = () => {
      const theme = stored();
      const next = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
      button.replaceChildren(icon({ auto: "auto", light: "sun", dark: "moon" }[theme]));
      button.title = `Theme: ${theme}. Switch to ${next}.`;
      button.setAttribute("aria-label", button.title);
      apply(theme);
    };
    button.addEventListener("click", () => {
      const next = THEMES[(THEMES.indexOf(stored()) + 1) % THEMES.length];
      try {
        localStorage.setItem("weever-theme", next);
      } catch {
        apply(next);
      }
      show();
    });
    show();
    return button;
  }

  // The mark is drawn inline (not <img>) so that it follows the page's theme rather than the system's.
  function mark() {
    const ns = "http://www.w3.org/2000/svg";
    const svg = document.createElementNS(ns, "svg");
    svg.setAttribute("viewBox", "0 0 64 64");
    svg.setAttribute("class", "mark");
    svg.setAttribute("aria-hidden", "true");
    for (const [x, y, height] of [[15, 21, 14], [23, 10, 24], [31, 15, 19], [39, 23, 12]]) {
      const spine = document.createElementNS(ns, "rect");
      for (const [key, value] of Object.entries({ x, y, width: 5, height, rx: 2.5, class: "fin" })) {
        spine.setAttribute(key, value);
      }
      svg.append(spine);
    }
    const body = document.createElementNS(ns, "path");
    body.setAttribute("class", "body");
    body.setAttribute(
      "d",
      "M3 46C8 36 19 31.5 29 31.5c10.5 0 18 5 23 10.3L61 33v25l-9-7.6C47 54.5 39 57 30 57 18 57 8 54 3 46Z",
    );
    const eye = document.createElementNS(ns, "circle");
    for (const [key, value] of Object.entries({ cx: 14.5, cy: 43, r: 2.7, class: "eye" })) eye.setAttribute(key, value);
    svg.append(body, eye);
    return svg;
  }

  class WeeverHeader extends HTMLElement {
    connectedCallback() {
      const skip = document.createElement("a");
      skip.href = "#main";
      skip.className = "skip";
      skip.textContent = "Skip to content";

      const brand = document.createElement("a");
      brand.href = "./";
      brand.className = "brand";
      const word = document.createElement("span");
      word.textContent = "weever";
      brand.append(mark(), word);
      brand.setAttribute("aria-label", "Weever, start page");

      const nav = document.createElement("nav");
      nav.setAttribute("aria-label", "Pages");
      const here = location.pathname.split("/").pop();
      // The room travels along from page to page. (The name doesn't: who watches should not be named as who publishes.)
      const room = new URLSearchParams(location.search).get("room");
      const query = room ? `?${new URLSearchParams({ room })}` : "";
      for (const [page, title] of PAGES) {
        const link = document.createElement("a");
        link.href = page + query;
        link.textContent = title;
        if (page === here) link.setAttribute("aria-current", "page");
        nav.append(link);
      }
      this.append(skip, brand, nav, themeButton());
      const current = nav.querySelector("[aria-current]");
      if (current) requestAnimationFrame(() => nav.scrollTo({ left: current.offsetLeft - 24 }));
    }
  }
  customElements.define("weever-header", WeeverHeader);
})();
