"use strict";
(() => {
  const setUpFilter = () => {
    const form = document.querySelector(".filter[hidden]");
    if (!form) return;
    const task = document.getElementById("pair-task");
    const kind = document.getElementById("pair-kind");
    const count = document.getElementById("pair-count");
    const items = [...document.querySelectorAll("#pair-list > .item")];
    const show = () => {
      const text = task.value.trim().toLowerCase();
      let n = 0;
      for (const item of items) {
        const fits = (!kind.value || item.dataset.kind === kind.value) && item.dataset.task.toLowerCase().includes(text);
        item.hidden = !fits;
        n += fits;
      }
      count.textContent = `${n} of ${items.length}`;
    };
    form.hidden = false;
    form.addEventListener("submit", (event) => event.preventDefault());
    task.addEventListener("input", show);
    kind.addEventListener("change", show);
    show();
  };
  setUpFilter();
  // The page of a run under way replaces its sections, and says so with this event.
  document.addEventListener("replaced", setUpFilter);
  // On paper nothing can be unfolded, so everything is opened for printing. The pairs stay folded, because there are too many of them.
  let opened = [];
  window.addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")].filter((details) => !details.closest("#pair-list"));
    for (const details of opened) details.open = true;
  });
  window.addEventListener("afterprint", () => { for (const details of opened) details.open = false; });
})();
