//! One HTTP exchange.

use std::{
    future::Future,
    io,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clawgate_core::{
    job::{HttpJob, JobEnd, JobEvent, JobFailure, Reached},
    time::{WallTime, millis},
};
use futures_lite::{AsyncReadExt, AsyncWriteExt, FutureExt};

use super::{
    Stopped, Teller,
    dial::{Stream, Trust, dial, plain},
    request,
    response::{Piece, ResponseReader},
};

/// Bytes that are read at once.
const READ: usize = 16 * 1024;

/// Does the exchange; gives its last event, or nothing when it is stopped.
pub(super) async fn run(
    job: HttpJob,
    trust: &Trust,
    stopped: &Stopped,
    teller: &Teller,
) -> Option<JobEvent> {
    let work = async {
        Some(match exchange(&job, trust, teller).await {
            Ok(()) => JobEvent::Ended(JobEnd::Complete),
            Err(failure) => JobEvent::Failed(failure),
        })
    };
    // The socket is closed with the future.
    let stop = async {
        stopped.wait().await;
        None
    };
    stop.or(work).await
}

async fn exchange(job: &HttpJob, trust: &Trust, teller: &Teller) -> Result<(), JobFailure> {
    let failure = |reached| move |message: String| JobFailure { reached, message };
    let host = job.url.host_header();
    let head = request::head(job)
        .map_err(|name| format!("the header {name} cannot be sent"))
        .map_err(failure(Reached::No))?;
    let mut stream = dial(&job.url, trust, job.connect)
        .await
        .map_err(failure(Reached::No))?;
    let lost = |error: io::Error| {
        let message = if error.kind() == io::ErrorKind::TimedOut {
            format!("{host} said nothing for {} s", job.idle.as_secs_f32())
        } else {
            format!("the connection to {host} broke: {}", plain(&error))
        };
        failure(Reached::Perhaps)(message)
    };
    let mut reader = ResponseReader::new(job.max_body, wall());
    let mut buffer = vec![0; READ];
    // An answer may come before the request is sent, such as 413 and a close.
    let sent = send(&mut stream, head.expose().as_bytes(), job).await;
    loop {
        let read = within(job.idle, stream.read(&mut buffer)).await;
        let count = match (read, &sent) {
            (Ok(count), _) => count,
            (Err(_), Err(error)) => {
                return Err(lost(io::Error::new(error.kind(), error.to_string())));
            }
            (Err(error), Ok(())) if is_unclosed_tls(&error) => 0,
            (Err(error), Ok(())) => return Err(lost(error)),
        };
        let unreadable = |fault| {
            failure(Reached::Perhaps)(format!("the answer of {host} cannot be used: {fault}"))
        };
        if count == 0 {
            return reader.close().map(drop).map_err(unreadable);
        }
        let bytes = buffer.get(..count).unwrap_or_default();
        for piece in reader.push(bytes).map_err(unreadable)? {
            match piece {
                Piece::Head(head) => teller.tell(JobEvent::Head(head)),
                Piece::Body(bytes) => teller.tell(JobEvent::Data(bytes)),
                Piece::End => return Ok(()),
            }
        }
    }
}

async fn send(stream: &mut Stream, head: &[u8], job: &HttpJob) -> io::Result<()> {
    within(job.idle, stream.write_all(head)).await?;
    // In pieces, so that a slow line is told from a dead one.
    for piece in job.body.chunks(READ) {
        within(job.idle, stream.write_all(piece)).await?;
    }
    within(job.idle, stream.flush()).await
}

async fn within<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let late = async {
        smol::Timer::after(limit).await;
        Err(io::ErrorKind::TimedOut.into())
    };
    work.or(late).await
}

/// Many servers hang up without a word of TLS. Whether the answer is whole, its length says; one that
/// ends with the connection alone may have been cut, and then only what it means can tell.
fn is_unclosed_tls(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::UnexpectedEof
}

fn wall() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    WallTime(since.map_or(0, millis))
}
