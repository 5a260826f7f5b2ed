const player = document.querySelector("#player audio");
const now = document.querySelector("#now");
let until = Infinity, marked = null;
function play(figure, from, to, button) {
  const source = figure.dataset.audio;
  player.preload = "auto";
  if (player.getAttribute("src") !== source) { player.src = source; }
  until = to;
  marked?.classList.remove("playing");
  marked = button ?? null;
  marked?.classList.add("playing");
  now.textContent = figure.querySelector("a").textContent;
  const start = () => {
    player.currentTime = from;
    player.play().catch(() => { now.textContent = "this browser can't play " + source; });
  };
  if (player.readyState > 0) start();
  else player.addEventListener("loadedmetadata", start, { once: true });
}
player.addEventListener("timeupdate", () => {
  if (player.currentTime >= until) { player.pause(); until = Infinity; }
});
player.addEventListener("error", () => {
  now.textContent = "this browser can't play " + player.getAttribute("src");
});
document.addEventListener("click", (event) => {
  const figure = event.target.closest("figure");
  if (!figure) return;
  const stretches = JSON.parse(figure.dataset.speech);
  const buttons = figure.querySelectorAll("button");
  if (event.target.matches("button")) {
    const n = [...buttons].indexOf(event.target);
    play(figure, ...stretches[n], event.target);
  } else if (event.target.matches("img")) {
    const box = event.target.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width * WIDTH;
    const share = Math.min(Math.max((x - LEFT) / (RIGHT - LEFT), 0), 1);
    const time = share * Number(figure.dataset.duration);
    const n = stretches.findIndex(([from, to]) => from <= time && time <= to);
    if (n < 0) play(figure, time, Infinity);
    else play(figure, ...stretches[n], buttons[n]);
  }
});
