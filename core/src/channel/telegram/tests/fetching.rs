use super::*;
use crate::channel::FileBytes;

fn photo(size: Option<u64>) -> FileRef {
    FileRef {
        id: "abc".to_owned(),
        name: None,
        mime_type: "image/jpeg".to_owned(),
        size,
    }
}

impl Rig {
    fn fetch(&mut self, file: &FileRef) {
        self.act(|bot, now| bot.fetch(now, Errand(1), file));
    }

    fn fetched(&mut self) -> Result<FileBytes, String> {
        let mut ends = self.only(|output| {
            if let ChannelOutput::Fetched(Errand(1), result) = output {
                Some(result.clone())
            } else {
                None
            }
        });
        self.nothing_else();
        assert_eq!(ends.len(), 1);
        ends.remove(0)
    }

    /// Up to the request for the file itself.
    fn located(path: &str) -> (Self, Call) {
        let (mut rig, _) = Self::running();
        rig.fetch(&photo(None));
        let call = rig.call();
        assert_eq!(
            (call.method(), call.params()),
            ("getFile", json!({ "file_id": "abc" }))
        );
        rig.ok(&call, json!({ "file_id": "abc", "file_path": path }));
        let call = rig.call();
        (rig, call)
    }
}

#[test]
fn a_file_is_located_and_fetched() {
    let (mut rig, call) = Rig::located("photos/a b_1.jpg");
    assert_eq!(call.http.method, HttpMethod::Get);
    let path = call.http.secret_path.clone().unwrap();
    assert_eq!(
        path.expose(),
        format!("/api/file/bot{TOKEN}/photos/a%20b_1.jpg")
    );
    rig.answer(&call, 200, "bytes");
    let file = rig.fetched().unwrap();
    assert_eq!(file.data, Bytes::from("bytes"));
    assert_eq!(file.mime_type, "image/jpeg");
    assert_eq!(file.name.as_deref(), Some("a b_1.jpg"));
}

#[test]
fn what_is_too_large_is_not_fetched() {
    let (mut rig, _) = Rig::running();
    rig.fetch(&photo(Some(1_001)));
    assert!(rig.fetched().unwrap_err().contains("mediaMaxMb"));
    rig.fetch(&photo(None));
    let call = rig.call();
    rig.ok(&call, json!({ "file_path": "a", "file_size": 1_001 }));
    assert!(rig.fetched().unwrap_err().contains("mediaMaxMb"));
    rig.fetch(&photo(None));
    let call = rig.call();
    rig.refuse(&call, 400, "Bad Request: file is too big");
    assert!(rig.fetched().unwrap_err().contains("20 MB"));
    // Whatever the service said before.
    let (mut rig, call) = Rig::located("a.jpg");
    rig.head(&call, 200);
    rig.data(&call, vec![0; 1_001]);
    assert_eq!(rig.stopped(), [call.job]);
    assert!(rig.fetched().unwrap_err().contains("mediaMaxMb"));
    let (mut rig, call) = Rig::located("a.jpg");
    rig.answer(&call, 200, vec![0; 1_000]);
    assert_eq!(rig.fetched().unwrap().data.len(), 1_000);
}

#[test]
fn paths_that_lead_elsewhere_are_not_followed() {
    for path in ["../x", "a/../b", "/etc/passwd", "", "a\nb", "a//b", "..\\x"] {
        let (mut rig, _) = Rig::running();
        rig.fetch(&photo(None));
        let call = rig.call();
        rig.ok(&call, json!({ "file_path": path }));
        assert!(rig.fetched().is_err(), "{path:?}");
    }
    let (mut rig, call) = Rig::located("a?b#c");
    assert!(
        call.http
            .secret_path
            .clone()
            .unwrap()
            .expose()
            .ends_with("/a%3Fb%23c")
    );
    rig.answer(&call, 404, "gone");
    assert!(rig.fetched().is_err());
}

#[test]
fn a_passing_fault_is_tried_again() {
    let (mut rig, mut call) = Rig::located("a.jpg");
    for _ in 0..2 {
        rig.answer(&call, 500, "oops");
        rig.wait();
        call = rig.call();
    }
    rig.answer(&call, 200, "bytes");
    assert!(rig.fetched().is_ok());
    let (mut rig, mut call) = Rig::located("a.jpg");
    for _ in 0..2 {
        rig.fail(&call, Reached::No);
        rig.wait();
        call = rig.call();
    }
    rig.head(&call, 200);
    rig.fail(&call, Reached::Perhaps);
    assert!(rig.fetched().unwrap_err().contains("could not be fetched"));
}
