/* Times in the reader's own time zone, UTC beside them. Without this script they stay UTC. */
"use strict";
{
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
  const two = (number) => String(number).padStart(2, "0");
  const clock = (at) => `${two(at.getHours())}:${two(at.getMinutes())}`;
  const month = (at) => at.toLocaleString("en", { month: "short" });
  const sameDay = (a, b) => a.toDateString() === b.toDateString();

  const forms = {
    moment(at) {
      const now = new Date();
      const yesterday = new Date(now.getFullYear(), now.getMonth(), now.getDate() - 1);
      const words = `${clock(at)}:${two(at.getSeconds())}`;
      if (sameDay(at, now)) return words;
      if (sameDay(at, yesterday)) return `yesterday ${words}`;
      const day = `${at.getDate()} ${month(at)}`;
      return at.getFullYear() === now.getFullYear() ? `${day} ${words}` : `${day} ${at.getFullYear()}`;
    },
    hour(at) {
      const old = Date.now() - at > 7 * 24 * 3600 * 1000;
      const day = old ? `${at.getDate()} ${month(at)}` : at.toLocaleString("en", { weekday: "short" });
      return `${day} ${clock(at)}`;
    },
  };

  const local = (place) => {
    for (const time of place.querySelectorAll("time[data-form]")) {
      const at = new Date(time.dateTime);
      if (!at.getTimezoneOffset() || !forms[time.dataset.form]) continue;
      time.textContent = forms[time.dataset.form](at);
      if (!time.closest(".wh-utc")) continue;
      const beside = document.createElement("small");
      beside.className = "wh-quiet";
      beside.textContent = ` (${at.toISOString().slice(11, 19)} UTC)`;
      time.append(beside);
    }
  };

  local(document);
  document.addEventListener("webhooks:shown", (event) => local(event.target));
  const note = document.getElementById("times-zone");
  if (note) {
    note.hidden = false;
    note.textContent = new Date().getTimezoneOffset()
      ? `Times are those of ${zone}; UTC shows when you point at one.`
      : "Times are UTC.";
  }
}
