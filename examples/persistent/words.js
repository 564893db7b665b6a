#!/usr/bin/env node
// Counts words: a persistent handler for Node, which can be cancelled in the middle of a job.
"use strict";

const say = (jobq, fields) => console.log(JSON.stringify({ jobq, ...fields }));

let cancelled;

async function count({ job, payload }) {
  console.log(`counting ${payload.text.length} characters`);
  const words = payload.text.split(/\s+/).filter(Boolean);
  for (const at of words.keys()) {
    await new Promise((resolve) => setTimeout(resolve, payload.ms_per_word ?? 0));
    if (cancelled === job) return say("fail", { job, error: `cancelled at word ${at}` });
  }
  say("done", { job, result: { words: words.length, pid: process.pid } });
}

require("readline")
  .createInterface({ input: process.stdin })
  .on("line", (line) => {
    const message = JSON.parse(line);
    if (message.cancel) {
      cancelled = message.cancel;
      return;
    }
    count(message).catch((error) => say("retry", { job: message.job, error: String(error) }));
  });

say("ready", {});
