//<![CDATA[
// Facts of a box where it is chosen, colours by another measure, arrow keys from box to box.
for (const drawing of document.querySelectorAll(".drawing")) {
  const facts = drawing.querySelector(".facts");
  const boxes = [...drawing.querySelectorAll(".box")];
  let chosen = null;

  const tell = (box) => {
    const list = document.createElement("dl");
    const words = new Set();
    const add = (word, text) => {
      words.add(word);
      list.appendChild(document.createElement("dt")).textContent = word;
      list.appendChild(document.createElement("dd")).textContent = text;
    };
    for (const line of box.querySelector("title").textContent.split("\n")) {
      const at = line.indexOf(": ");
      add(line.slice(0, at), line.slice(at + 2));
    }
    // Of many devices the title tells the first alone; where there is one, no box has values.
    const values = (box.dataset.v || "").split("|");
    [...drawing.querySelectorAll(".choice option")].forEach((option, n) => {
      if (!words.has(option.text)) add(option.text, values[n]);
    });
    const close = document.createElement("button");
    close.textContent = "×";
    close.setAttribute("aria-label", "close");
    close.addEventListener("click", () => (facts.hidden = true));
    facts.replaceChildren(list, close);
    facts.hidden = false;
    if (chosen) chosen.classList.remove("chosen");
    chosen = box;
    box.classList.add("chosen");
  };
  const unfold = (box) => {
    const target = document.getElementById(box.getAttribute("href").slice(1));
    for (let e = target.parentElement; e && e !== drawing; e = e.parentElement)
      if (e.tagName === "DETAILS") e.open = true;
    const summary = target.parentElement.querySelector("summary");
    summary.scrollIntoView({ block: "nearest" });
    summary.focus({ preventScroll: true });
  };
  for (const svg of drawing.querySelectorAll(".net")) {
    const frame = svg.parentElement;
    frame.scrollLeft = (frame.scrollWidth - frame.clientWidth) / 2;
    const own = [...svg.querySelectorAll(".box")];
    own.forEach((box, n) => {
      box.setAttribute("tabindex", n ? -1 : 0);
      if (!box.hasAttribute("href")) box.setAttribute("role", "button");
      box.addEventListener("focus", () => {
        own.forEach((other) => other.setAttribute("tabindex", other === box ? 0 : -1));
        tell(box);
      });
      box.addEventListener("click", (event) => {
        tell(box);
        if (!box.hasAttribute("href")) return;
        event.preventDefault();
        unfold(box);
      });
      box.addEventListener("keydown", (event) => {
        const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
        if (event.key === "Escape") facts.hidden = true;
        if (!step || !own[n + step]) return;
        event.preventDefault();
        own[n + step].focus();
      });
    });
  }
  const choice = drawing.querySelector(".choice");
  if (choice) {
    choice.hidden = false;
    const scales = [...drawing.querySelectorAll(".scale-of")];
    choice.querySelector("select").addEventListener("change", (event) => {
      const n = event.target.selectedIndex;
      scales.forEach((scale, m) => (scale.hidden = m !== n));
      for (const box of boxes) {
        const marked = box.classList.contains("chosen") ? " chosen" : "";
        box.setAttribute("class", `box c${box.dataset.c[n]}${marked}`);
        box.querySelector(".v").textContent = box.dataset.v.split("|")[n];
      }
    });
  }
}
//]]>
