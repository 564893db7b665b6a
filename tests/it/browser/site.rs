//! A web site that misbehaves on demand.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::PATIENCE;

const FORM: &str = r#"<!DOCTYPE html><title>Form</title><style>h1 { margin: 0 }</style>
<body style="margin:0;height:3000px">
<h1>Order</h1><p hidden id=ghost>nothing</p>
<ul><li>one<li>two</ul><a href="/a">a</a><a href="/b">b</a>
<input id=name value=old><textarea id=note></textarea><div id=rich contenteditable>x</div>
<select id=size><option value=s>Small<option value=l>Large</select>
<label><input type=checkbox id=gift>gift</label>
<input type=file id=file><button id=send disabled>Send</button>
<div id=out></div><div id=wide style="position:absolute;width:20000px;height:1px;background:red"></div>
<div id=low style="position:absolute;top:2500px">low</div>
<script>
const out = (text) => { document.getElementById('out').textContent += text + ';' };
const byId = (id) => document.getElementById(id);
byId('name').oninput = (e) => { out('name=' + e.target.value); setTimeout(() => byId('send').disabled = false, 50) };
byId('name').onkeydown = (e) => out('key=' + (e.ctrlKey ? 'Control+' : '') + e.key);
byId('size').onchange = (e) => out('size=' + e.target.value);
byId('gift').onchange = (e) => out('gift=' + e.target.checked);
byId('file').onchange = (e) => e.target.files[0].text().then((text) => out('file=' + text));
byId('low').onmouseover = () => out('hover');
byId('send').onclick = () => setTimeout(() => { location = '/done?' + byId('name').value }, 50);
</script>"#;

pub(super) struct Site {
    pub(super) address: String,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Site {
    pub(super) fn start() -> Site {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&heard);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let told = Arc::clone(&told);
                std::thread::spawn(move || serve(stream, &told));
            }
        });
        Site { address, heard }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The requests until now, with their headers.
    pub(super) fn requests(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

fn serve(mut stream: TcpStream, told: &Mutex<Vec<String>>) {
    let mut head = String::new();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).unwrap_or(0) == 0 {
            return;
        }
    }
    told.lock().unwrap().push(head.clone());
    let target = head.split(' ').nth(1).unwrap_or_default();
    let (status, headers, body) = match path_of(target) {
        "/form" => ("200 OK", "", FORM),
        "/hang" => {
            std::thread::sleep(2 * PATIENCE);
            return;
        }
        "/slow" => {
            std::thread::sleep(Duration::from_millis(700));
            ("200 OK", "", "<h1>slow</h1>")
        }
        "/reset" => return,
        "/401" => (
            "401 Unauthorized",
            "WWW-Authenticate: Basic realm=\"x\"\r\n",
            "who?",
        ),
        "/403" => ("403 Forbidden", "", ""),
        "/404" => ("404 Not Found", "", "<h1>gone</h1>"),
        "/503" => ("503 Service Unavailable", "", ""),
        "/download" => (
            "200 OK",
            "Content-Disposition: attachment; filename=a.bin\r\n",
            "x",
        ),
        "/to-file" => ("302 Found", "Location: file:///etc/passwd\r\n", ""),
        "/to-form" => ("302 Found", "Location: /form\r\n", ""),
        "/busy" => {
            let script = "<h1>busy</h1><script>setTimeout(() => { for (;;); }, 100)</script>";
            ("200 OK", "", script)
        }
        "/dialogs" => {
            let script = "<script>alert(1); document.title = confirm(2) + '-' + prompt(3)</script>";
            ("200 OK", "", script)
        }
        "/popup" => {
            let script = "<script>var pop_ups = [window.open('/form', 'x', 'popup'), window.open('/form')]</script>";
            ("200 OK", "", script)
        }
        "/talks" => {
            let script = "<script>for (let i = 0; i < 99; i++) console.log('line', i); throw new Error('oh')</script>";
            ("200 OK", "", script)
        }
        "/picture" => (
            "200 OK",
            "",
            "<img src=/a.png><img src=/ads/b.png><h1>p</h1>",
        ),
        "/moves" => ("200 OK", "", "<script>location.replace('/form')</script>"),
        "/cookie" => ("200 OK", "Set-Cookie: seen=1\r\n", "<h1>c</h1>"),
        _ => ("200 OK", "", "<title>Page</title><h1>Page</h1>"),
    };
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/html\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    // A browser may have gone.
    let _ = stream.write_all(answer.as_bytes());
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let _ = reader.read(&mut [0]);
}

/// A proxy is asked for a whole URL.
fn path_of(target: &str) -> &str {
    match target.strip_prefix("http://") {
        Some(rest) => &rest[rest.find('/').unwrap_or(rest.len())..],
        None => target,
    }
}
