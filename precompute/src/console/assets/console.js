// Asks for a page with live parts again, and puts these parts in the place of the old ones. Without it a page has a link
// that does the same.
"use strict";
(() => {
  const main = document.querySelector("main[data-refresh]");
  const note = document.getElementById("refreshed");
  if (!main || !note) return;
  const interval = 1000 * Number(main.dataset.refresh);
  const again = () => setTimeout(refresh, interval);

  // What somebody types in, has opened or marks stays as it is.
  const isInUse = (part) => part.contains(document.activeElement) ||
    (String(document.getSelection()) !== "" && part.contains(document.getSelection().anchorNode));

  const refresh = async () => {
    if (document.hidden) return again();
    try {
      // The head says that nobody has asked: the session does not last longer for it.
      const answer = await fetch(location.href, {
        headers: { "Ostia-Refresh": "1" }, redirect: "manual", cache: "no-store",
      });
      if (!answer.ok) {
        note.textContent = answer.type === "opaqueredirect"
          ? "You are signed out: reload the page to sign in."
          : "The page could not be refreshed: status " + answer.status + ".";
        return answer.status >= 500 || answer.status === 429 ? again() : undefined;
      }
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const part of document.querySelectorAll("[data-live]")) {
        const next = part.id && page.getElementById(part.id);
        if (next && !isInUse(part)) part.replaceWith(document.adoptNode(next));
      }
      const time = page.getElementById("refreshed");
      if (time) note.textContent = time.textContent;
    } catch {
      note.textContent = "The server does not answer. Trying again.";
    }
    again();
  };
  again();
})();
