//! Sources that are downloaded.

use std::fs;
use std::path::Path;

use jobq::handlers::http::Addresses;
use jobq::handlers::image_process::ImageProcessSettings;
use serde_json::json;

use super::Studio;
use crate::support::http_server::Server;

/// A server that has a picture at every path.
fn gallery(status: &'static str, picture: &Path) -> Server {
    let picture = fs::read(picture).unwrap();
    Server::start(move |mut exchange| {
        let length = picture.len();
        exchange.send(format!(
            "HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n"
        ));
        exchange.send(&picture);
        None
    })
}

#[test]
fn a_source_may_be_downloaded() {
    let studio = Studio::new();
    let picture = studio.picture("photo.png", 60, 40);
    let server = gallery("200 OK", &picture);
    let of =
        |path: &str| json!({ "source_url": server.url(path), "output": "{name}-{width}.{ext}" });
    let result = studio.process(of("/albums/dog.jpeg?size=large"));
    assert_eq!((result.source.width, result.source.height), (60, 40));
    assert_eq!(result.source.bytes, fs::metadata(&picture).unwrap().len());
    studio.process(of("/"));
    assert_eq!(
        studio.names(),
        ["dog-60.png", "photo.png", "picture-60.png"]
    );
}

#[test]
fn a_download_keeps_to_the_settings_and_can_fail() {
    let mut studio = Studio::new();
    let picture = studio.picture("photo.png", 60, 40);
    let of = |server: &Server| json!({ "source_url": server.url("/a.png"), "output": "b.png" });
    let found = gallery("200 OK", &picture);
    let refused = |studio: &Studio, server: &Server, why: &str| {
        let error = studio.error(of(server));
        assert!(error.contains(why), "{error}");
    };
    refused(&studio, &gallery("404 Not Found", &picture), "404");
    let page = Server::responding("200 OK", "", "<html>");
    refused(&studio, &page, "neither JPEG");
    studio.settings.http.addresses = Addresses::Public;
    refused(&studio, &found, "addresses = \"public\"");
    studio.settings = ImageProcessSettings::default();
    studio.settings.max_input_bytes = 100;
    refused(&studio, &found, "longer than 100 bytes");
    assert_eq!(studio.names(), ["photo.png"]);
}
