//! The bytes of a request.

use clawgate_core::{
    job::{HeaderText, HttpJob, HttpMethod},
    secret::Secret,
};

/// The head of a request; it may hold a credential, so it is a secret as a whole.
///
/// # Errors
/// With the name of a header whose value a request cannot carry.
pub(super) fn head(job: &HttpJob) -> Result<Secret, &'static str> {
    let method = match job.method {
        HttpMethod::Get => "GET",
        HttpMethod::Post => "POST",
    };
    let path = match &job.secret_path {
        Some(path) => path.expose(),
        None => job.url.path_and_query(),
    };
    if path.bytes().any(|byte| !byte.is_ascii_graphic()) {
        return Err("path");
    }
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {}\r\nuser-agent: clawgate/{}\r\nconnection: close\r\n",
        job.url.host_header(),
        env!("CARGO_PKG_VERSION"),
    );
    if job.method == HttpMethod::Post || !job.body.is_empty() {
        head.push_str(&format!("content-length: {}\r\n", job.body.len()));
    }
    for (name, value) in &job.headers {
        let value = match value {
            HeaderText::Plain(text) => text.as_str(),
            HeaderText::Secret(secret) => secret.expose(),
        };
        if value
            .bytes()
            .any(|byte| !matches!(byte, b' '..=b'~' | b'\t'))
        {
            return Err(name);
        }
        head.push_str(name);
        head.push_str(": ");
        head.push_str(value);
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    Ok(Secret::new(head))
}
