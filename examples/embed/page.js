// What the application does with the events of <jobq-status>.

const asked = new URLSearchParams(location.search);
const status = document.querySelector("jobq-status");
const outcome = document.querySelector("#outcome");

status.addEventListener("done", ({ detail: job }) => {
  outcome.textContent = `Done: ${JSON.stringify(job.result)}`;
});
status.addEventListener("failed", ({ detail: job }) => {
  outcome.textContent = `It ended as ${job.state}${job.error ? `: ${job.error}` : ""}`;
});
for (const name of ["token", "job"]) status.setAttribute(name, asked.get(name) ?? "");
