//! The kind `image_process`, as `jobq run` runs it.

use std::fs;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::mounts::in_namespace;
use super::support::{Jobq, text};
use crate::image_process::photo;
use crate::support::names;

/// A queue whose work folder has a photo and a folder for results.
fn studio() -> Jobq {
    let jobq = Jobq::new();
    photo(800, 600).save(jobq.path("photo.png")).unwrap();
    fs::create_dir(jobq.path("out")).unwrap();
    jobq
}

fn enqueue(jobq: &Jobq, payload: &Value, options: &[&str]) -> i64 {
    let payload = payload.to_string();
    let words = ["--kind", "image_process", "--payload", &payload];
    jobq.enqueue(&[&words, options].concat())
}

#[test]
fn a_picture_takes_its_options_and_settings_from_the_config() {
    let jobq = studio();
    jobq.write(
        "jobq.toml",
        "[kinds.image_process]\nretries = 5\nsettings = { root = 'out', max_pixels = 400_000 }",
    );
    fs::copy(jobq.path("photo.png"), jobq.path("out/photo.png")).unwrap();
    let payload = json!({ "source": "photo.png", "output": "small.png" });
    let id = enqueue(&jobq, &payload, &[]);
    let job = jobq.job(id);
    assert_eq!(
        (&job["max_retries"], &job["timeout_ms"]),
        (&json!(5), &json!(120_000))
    );
    let outside = json!({ "source": "../photo.png", "output": "small.png" });
    let outside = enqueue(&jobq, &outside, &[]);
    jobq.drain(&[]).exits(4);
    assert!(text(&jobq.job(id)["error"]).contains("800x600 pixels; max_pixels"));
    assert!(text(&jobq.job(outside)["error"]).contains("outside the root"));
    jobq.write("jobq.toml", "[kinds.image_process.settings]\nroot = 'out'");
    jobq.run(&["retry", &id.to_string()]).exits(0);
    jobq.drain(&[]).exits(0);
    assert_eq!(names(&jobq.path("out")), ["photo.png", "small.png"]);
    assert!(jobq.stdout(&["help", "image_process"]).contains("lanczos3"));
}

#[test]
fn a_full_disk_is_tried_again_and_nothing_is_left() {
    let jobq = studio();
    let outputs = json!([{ "path": "out/a.jpg" }, { "path": "out/b.png" }]);
    let payload = json!({ "source": "photo.png", "outputs": outputs });
    let options = ["--retries", "1", "--retry-delay", "10ms"];
    let id = enqueue(&jobq, &payload, &options);
    if in_namespace(
        &jobq,
        "mount -t tmpfs -o size=256k none out
         jobq run --drain || test $? = 4
         test -z \"$(ls -A out)\"",
    ) {
        let job = jobq.job(id);
        assert_eq!(
            (&job["state"], &job["attempt"]),
            (&json!("failed"), &json!(2))
        );
        assert!(
            text(&job["error"]).contains("out/b.png' cannot be written: No space"),
            "{job}"
        );
    }
}

#[test]
fn a_runner_that_is_killed_leaves_no_half_picture() {
    for round in 0..3 {
        let jobq = studio();
        let paths = |number: u64| ["png", "jpg", "webp"].map(|ext| format!("out/{number}.{ext}"));
        let jobs: Vec<i64> = (0..12)
            .map(|number| {
                let outputs = paths(number).map(|path| json!({ "path": path }));
                let payload = json!({ "source": "photo.png", "outputs": outputs });
                enqueue(&jobq, &payload, &[])
            })
            .collect();
        // Twice: a job that is there the third time a runner dies counts as its reason.
        for _ in 0..2 {
            let runner = jobq.runner(&[]);
            thread::sleep(Duration::from_millis(fastrand::u64(0..1500)));
            runner.kill();
            for name in names(&jobq.path("out")) {
                let bytes = fs::read(jobq.path(&format!("out/{name}"))).unwrap();
                let end: &[u8] = match name.rsplit_once('.').unwrap().1 {
                    "png" => b"IEND\xae\x42\x60\x82",
                    "jpg" => b"\xff\xd9",
                    _ => &[],
                };
                assert!(bytes.len() > 5000 && bytes.ends_with(end), "{round} {name}");
            }
        }
        jobq.drain(&[]).exits(0);
        assert!(jobs.iter().all(|id| jobq.state(*id) == "completed"));
        let mut expected: Vec<String> = (0..12)
            .flat_map(paths)
            .map(|path| path.replace("out/", ""))
            .collect();
        expected.sort();
        assert_eq!(names(&jobq.path("out")), expected);
    }
}
