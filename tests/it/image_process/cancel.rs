//! A cancel or a timeout in the middle of the work.

use std::time::{Duration, Instant};

#[cfg(feature = "image-avif")]
use jobq::Until;
use jobq::handlers::built_in::BuiltIn;
use jobq::handlers::image_process::ImageProcess;
use jobq::{Job, NewJob, State};
use serde_json::{Value, json};

use super::Studio;
use crate::support::{PATIENCE, wait_until};

/// A job on a large picture that takes some seconds.
fn long(studio: &Studio) -> NewJob {
    let outputs: Vec<Value> = (0..20)
        .map(|number| {
            let ext = ["webp", "png", "jpg"][number % 3];
            json!({ "path": format!("{number}.{ext}") })
        })
        .collect();
    let payload = studio.payload(json!({ "source": "large.jpg", "outputs": outputs }));
    NewJob::new("image_process").payload(&payload)
}

#[test]
fn a_cancel_or_a_timeout_ends_a_job_within_a_second() {
    let studio = Studio::new();
    studio.jpeg("large.jpg", 6000, 4000);
    let queue = studio.scene.open();
    let handler = BuiltIn::<ImageProcess>::new(studio.settings.clone());
    let runner = queue
        .runner()
        .kind(ImageProcess::KIND, handler)
        .start()
        .unwrap();
    let job = || long(&studio).max_retries(0);
    let state = |id| queue.get(id).unwrap().unwrap().state;
    for wait in [300, 1500] {
        let id = queue.enqueue(job()).unwrap().id;
        wait_until("it runs", PATIENCE, || state(id) == State::Running);
        std::thread::sleep(Duration::from_millis(wait));
        let began = Instant::now();
        queue.cancel(id).unwrap();
        wait_until("it is cancelled", PATIENCE, || {
            state(id) == State::Cancelled
        });
        assert!(
            began.elapsed() < Duration::from_secs(1),
            "{:?}",
            began.elapsed()
        );
    }
    let began = Instant::now();
    let timeout = Duration::from_millis(500);
    let id = queue.enqueue(job().timeout(timeout)).unwrap().id;
    wait_until("it is over", PATIENCE, || state(id) == State::Failed);
    assert!(
        began.elapsed() < Duration::from_millis(2500),
        "{:?}",
        began.elapsed()
    );
    runner.stop().unwrap();
    assert_eq!(studio.names(), ["large.jpg"]);
}

#[cfg(feature = "image-avif")]
#[test]
fn a_cancel_does_not_wait_for_the_encoder_of_avif() {
    let studio = Studio::new();
    studio.jpeg("large.jpg", 1000, 700);
    let queue = studio.scene.open();
    let handler = BuiltIn::<ImageProcess>::new(studio.settings.clone());
    let payload = studio.payload(json!({ "source": "large.jpg", "output": "a.avif" }));
    let timeout = Duration::from_millis(500);
    let job = NewJob::new("image_process")
        .payload(&payload)
        .max_retries(0)
        .timeout(timeout);
    let id = queue.enqueue(job).unwrap().id;
    let runner = queue.runner().kind(ImageProcess::KIND, handler);
    let began = Instant::now();
    let runner = runner.until(Until::Drained).start().unwrap();
    runner.wait().unwrap();
    let took = began.elapsed();
    assert!(took < timeout + Duration::from_secs(1), "{took:?}");
    assert_eq!(queue.get(id).unwrap().unwrap().state, State::Failed);
    assert_eq!(studio.names(), ["large.jpg"]);
}
