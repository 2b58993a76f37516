/* Progressive enhancement only: every page works without it. */
"use strict";
{
  /* Follow: says how many are new, and never moves a row that somebody reads. */
  const follow = document.querySelector(".wh-follow");
  if (follow) {
    const box = follow.querySelector("#follow");
    const fresh = follow.querySelector("#follow-new");
    let timer = 0;
    const look = async () => {
      if (document.hidden) return;
      try {
        const { text } = await webhooks.ask(`${follow.dataset.newer}&after=${follow.dataset.after}`);
        const { count } = JSON.parse(text);
        webhooks.note(follow);
        fresh.hidden = count === "0";
        fresh.textContent = `${count} new`;
      } catch (lost) {
        if (!(lost instanceof webhooks.Lost)) throw lost;
        if (box.checked) webhooks.note(follow, lost);
      }
    };
    const turn = () => {
      sessionStorage.setItem("webhooks-follow", box.checked ? "1" : "");
      clearInterval(timer);
      if (box.checked) {
        timer = setInterval(look, webhooks.EVERY);
        look();
      } else {
        fresh.hidden = true;
        webhooks.note(follow);
      }
    };
    follow.hidden = false;
    box.checked = sessionStorage.getItem("webhooks-follow") === "1";
    box.addEventListener("change", turn);
    if (box.checked) turn();
  }
}
