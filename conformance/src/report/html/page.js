const filters = document.querySelector(".filters");
const find = filters.querySelector("[name=find]");
function choose() {
  const rows = filters.querySelector("[name=rows]:checked").value;
  for (const body of document.querySelectorAll(".matrix tbody")) {
    let shown = 0;
    for (const row of body.querySelectorAll(".check")) {
      const wanted = rows === "all" || row.hasAttribute("data-" + rows);
      row.hidden = !wanted || !row.dataset.id.includes(find.value.trim());
      shown += row.hidden ? 0 : 1;
    }
    body.hidden = shown === 0;
  }
}
function open_target() {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  if (target && target.tagName === "DETAILS") target.open = true;
}
filters.hidden = false;
filters.addEventListener("input", choose);
addEventListener("hashchange", open_target);
open_target();
