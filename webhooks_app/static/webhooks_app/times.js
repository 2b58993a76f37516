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
      const near = Math.abs(at - now) < 180 * 24 * 3600 * 1000; // the day says the year
      const plain = near || at.getFullYear() === now.getFullYear();
      return plain ? `${day} ${words}` : `${day} ${at.getFullYear()}`;
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
      if (time.closest("[aria-hidden]")) continue;
      const beside = document.createElement("small");
      beside.className = "wh-beside-utc";
      const [day, clocks] = at.toISOString().split("T");
      const other = at.getUTCDate() !== at.getDate();
      beside.textContent = ` (${other ? `${day} ` : ""}${clocks.slice(0, 8)} UTC)`;
      time.append(beside);
    }
  };

  /* Moments that are typed: in the zone that the page shows, sent in UTC. */
  const typed = (place) => {
    for (const name of place.querySelectorAll("[data-zone]")) name.textContent = zone;
    for (const input of place.querySelectorAll("input[type=datetime-local][name]")) {
      const sent = document.createElement("input");
      sent.type = "hidden";
      sent.name = input.name;
      input.removeAttribute("name");
      input.after(sent);
      if (input.value) {
        const at = new Date(`${input.value}Z`);
        const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
        input.value = input.defaultValue = `${day}T${clock(at)}:${two(at.getSeconds())}`;
      }
      const tell = () => {
        const at = new Date(input.value);
        sent.value = input.value && !isNaN(at) ? at.toISOString().replace(".000Z", "Z") : "";
      };
      input.addEventListener("input", tell);
      tell();
    }
  };

  const shown = (place) => {
    local(place);
    typed(place);
  };
  shown(document);
  document.addEventListener("webhooks:shown", (event) => shown(event.target));
  const note = document.getElementById("times-zone");
  if (note && new Date().getTimezoneOffset()) {
    const root = document.documentElement;
    const button = document.createElement("button");
    const show = (on) => {
      root.toggleAttribute("data-utc", on);
      button.setAttribute("aria-pressed", String(on));
    };
    button.type = "button";
    button.className = "wh-mini-link";
    button.textContent = "Show UTC beside each";
    button.addEventListener("click", () => {
      const on = !root.hasAttribute("data-utc");
      localStorage.setItem("webhooks-utc", on ? "1" : "");
      show(on);
    });
    note.textContent = `Times are those of ${zone}. `;
    note.append(button);
    show(localStorage.getItem("webhooks-utc") === "1");
  }
}
