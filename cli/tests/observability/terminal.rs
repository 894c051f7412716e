//! `gateway top` on a terminal.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::OwnedFd,
    process::{Child, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::Duration,
};

use rustix::{
    fs::{Mode, OFlags},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};
use serde_json::json;

use crate::gateway::Gateway;

/// A program on a terminal of its own.
struct Terminal {
    keys: File,
    child: Child,
    shown: Arc<(Mutex<String>, Condvar)>,
}

impl Terminal {
    fn of(gateway: &Gateway, args: &[&str]) -> Self {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&controller).unwrap();
        unlockpt(&controller).unwrap();
        let name = ptsname(&controller, Vec::new()).unwrap();
        let side: OwnedFd =
            rustix::fs::open(&name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        let size = Winsize {
            ws_row: 30,
            ws_col: 120,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&side, size).unwrap();
        let child = gateway
            .command(args)
            .env("TERM", "xterm")
            .stdin(Stdio::from(side.try_clone().unwrap()))
            .stdout(Stdio::from(side))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let keys = File::from(controller);
        let mut screen = keys.try_clone().unwrap();
        let shown = Arc::new((Mutex::new(String::new()), Condvar::new()));
        let seen = Arc::clone(&shown);
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = screen.read(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..count]).into_owned();
                seen.0.lock().unwrap().push_str(&text);
                seen.1.notify_all();
            }
        });
        Self { keys, child, shown }
    }

    /// Waits until this has been shown so often.
    fn wait_for(&self, text: &str, times: usize) {
        let (shown, changed) = &*self.shown;
        let shown = shown.lock().unwrap();
        let missing = |shown: &mut String| shown.matches(text).count() < times;
        let patience = Duration::from_secs(60);
        let (shown, waited) = changed
            .wait_timeout_while(shown, patience, missing)
            .unwrap();
        assert!(!waited.timed_out(), "no {text:?} in {shown:?}");
    }

    fn end(mut self, key: &[u8]) -> (ExitStatus, String) {
        self.keys.write_all(key).unwrap();
        let status = self.child.wait().unwrap();
        // The last thing that is said.
        self.wait_for("\u{1b}[?25h", 1);
        let shown = self.shown.0.lock().unwrap().clone();
        (status, shown)
    }
}

#[test]
fn the_page_is_made_anew_until_a_key_ends_it() {
    let gateway = Gateway::start(&[], &json!({}));
    for key in [&b"q"[..], b"\x03"] {
        let terminal = Terminal::of(&gateway, &["gateway", "top", "-c"]);
        terminal.wait_for("numbers since the start", 1);
        terminal.wait_for("the last 1.", 2);
        terminal.wait_for("PENDING", 1);
        terminal.wait_for("q ends", 2);
        let (status, shown) = terminal.end(key);
        assert!(status.success(), "{status:?}");
        // The terminal is as it was.
        let enter = shown.find("\u{1b}[?1049h").unwrap();
        let leave = shown.rfind("\u{1b}[?1049l").unwrap();
        assert!(enter < leave, "{shown:?}");
    }
}

#[test]
fn a_gateway_that_goes_away_is_told_on_the_page() {
    let gateway = Gateway::start(&[], &json!({}));
    let terminal = Terminal::of(&gateway, &["gateway", "top"]);
    terminal.wait_for("numbers since the start", 1);
    drop(gateway);
    terminal.wait_for("no connection", 1);
    let (status, _) = terminal.end(b"q");
    assert!(status.success(), "{status:?}");
}
