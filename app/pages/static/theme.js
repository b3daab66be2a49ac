// Before anything is drawn: a page must not be light for a moment where its reader has chosen dark.
const chosen = localStorage.getItem("hullspeed-theme");
if (chosen) document.documentElement.dataset.theme = chosen;
