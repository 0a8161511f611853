// What the theme leaves to be said to a screen reader, and to be reached by a keyboard.
const told = () => {
  document.querySelectorAll(".md-code__nav:not([aria-label])").forEach((nav) => {
    nav.setAttribute("aria-label", `Code ${document.querySelectorAll(".md-code__nav[aria-label]").length + 1}`);
  });
  document.querySelectorAll("pre > code, .md-typeset__scrollwrap, .md-sidebar__scrollwrap, .output, p:has(> img)").forEach((box) => { box.tabIndex = 0; });
};
new MutationObserver(told).observe(document.body, { childList: true, subtree: true });
told();
