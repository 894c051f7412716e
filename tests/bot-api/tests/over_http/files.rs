//! Files in both directions.

use serde_json::json;

use crate::client::{Answer, FORM, Scene, TOKEN, form};
use clawgate_bot_api::{Attachment, Declared, FileKind, MAX_DOWNLOAD, MAX_PHOTO, MAX_UPLOAD, Post};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x02\x80\0\0\x01\xe0\x08\x02";

fn send(scene: &Scene, method: &str, kind: &str, name: &str, data: &[u8]) -> Answer {
    let body = form(
        &[("chat_id", "7"), ("caption", "look")],
        (kind, name, "image/png", data),
    );
    let mut connection = scene.connect();
    connection
        .post(&format!("/bot{TOKEN}/{method}"), FORM, &body)
        .unwrap();
    connection.answer().unwrap()
}

fn download(scene: &Scene, path: &str) -> Answer {
    scene
        .connect()
        .get(&format!("/file/bot{TOKEN}/{path}"))
        .unwrap()
}

#[test]
fn a_file_of_a_person_is_downloaded() {
    let scene = Scene::new();
    let file = Attachment::document("notes.txt", "text/plain", b"remember");
    scene
        .api
        .post(Post::by(&scene.anna, "read this").with(file))
        .unwrap();
    let message = scene.updates(&json!({}))[0]["message"].clone();
    assert_eq!(message["caption"], "read this");
    let document = &message["document"];
    assert_eq!(document["file_name"], "notes.txt");
    assert_eq!(document["mime_type"], "text/plain");
    assert_eq!(document["file_size"], 8);
    let found = scene
        .call("getFile", &json!({"file_id": document["file_id"]}))
        .result();
    let path = found["file_path"].as_str().unwrap();
    assert_eq!(download(&scene, path).body, b"remember");
    assert_eq!(
        download(&scene, "documents/file_9.txt").description(),
        "Not Found"
    );
    assert_eq!(
        scene
            .call("getFile", &json!({"file_id": "x"}))
            .description(),
        "Bad Request: invalid file_id"
    );
}

#[test]
fn a_photo_has_sizes() {
    let scene = Scene::new();
    scene
        .api
        .post(Post::by(&scene.anna, "").with(Attachment::photo(PNG)))
        .unwrap();
    let photo = scene.updates(&json!({}))[0]["message"]["photo"][0].clone();
    assert_eq!(
        (&photo["width"], &photo["height"]),
        (&json!(640), &json!(480))
    );
}

#[test]
fn what_a_bot_sends_arrives() {
    let scene = Scene::greeted();
    let photo = send(&scene, "sendPhoto", "photo", "a.png", PNG).result();
    assert_eq!(photo["caption"], "look");
    let document = send(&scene, "sendDocument", "document", "b.bin", b"\r\n--lin\0");
    let id = document.result()["document"]["file_id"].clone();
    let again = scene.call("sendDocument", &json!({"chat_id": 7, "document": id}));
    assert_eq!(again.status, 200);
    let sent = scene.api.sent(&scene.anna);
    let files: Vec<_> = sent
        .iter()
        .map(|sent| sent.file.as_ref().unwrap())
        .collect();
    assert_eq!(
        (files[0].kind, files[0].data()),
        (FileKind::Photo, Some(PNG))
    );
    assert_eq!(files[1].data(), Some(&b"\r\n--lin\0"[..]));
    assert_eq!(files[1].name.as_deref(), Some("b.bin"));
    assert_eq!(files[2].data(), files[1].data());
    assert_eq!(sent[0].text, "look");
}

#[test]
fn files_that_the_service_does_not_take_are_refused() {
    let scene = Scene::greeted();
    let bad = |answer: &Answer| answer.description();
    assert_eq!(
        bad(&send(&scene, "sendPhoto", "photo", "a.png", b"no picture")),
        "Bad Request: IMAGE_PROCESS_FAILED"
    );
    let strip = b"GIF89a\x10\0\xff\xff";
    assert_eq!(
        bad(&send(&scene, "sendPhoto", "photo", "a.gif", strip)),
        "Bad Request: PHOTO_INVALID_DIMENSIONS"
    );
    assert_eq!(
        bad(&send(&scene, "sendPhoto", "document", "a.png", PNG)),
        "Bad Request: there is no photo in the request"
    );
    assert_eq!(
        bad(&send(&scene, "sendDocument", "document", "a.png", b"")),
        "Bad Request: file must be non-empty"
    );
    let large = vec![0; usize::try_from(MAX_PHOTO + 1).unwrap()];
    assert!(
        bad(&send(&scene, "sendPhoto", "photo", "a.png", &large))
            .starts_with("Bad Request: file of size 10485761 bytes is too big for a photo")
    );
    let larger = vec![0; usize::try_from(MAX_UPLOAD + 1).unwrap()];
    assert_eq!(
        send(&scene, "sendDocument", "document", "a.bin", &larger).status,
        413
    );
    assert!(scene.api.sent(&scene.anna).is_empty());
}

#[test]
fn large_files_are_not_handed_out_unless_their_size_is_hidden() {
    let scene = Scene::new();
    for declared in [Declared::Size, Declared::Nothing] {
        let file = Attachment::of_size("film.bin", MAX_DOWNLOAD + 1, declared);
        scene
            .api
            .post(Post::by(&scene.anna, "").with(file))
            .unwrap();
    }
    let updates = scene.updates(&json!({}));
    let ask = |index: usize| {
        let document = &updates[index]["message"]["document"];
        scene.call("getFile", &json!({"file_id": document["file_id"]}))
    };
    assert_eq!(ask(0).description(), "Bad Request: file is too big");
    assert_eq!(updates[1]["message"]["document"].get("file_size"), None);
    let path = ask(1).result()["file_path"].as_str().unwrap().to_owned();
    assert_eq!(download(&scene, &path).body.len() as u64, MAX_DOWNLOAD + 1);
}
