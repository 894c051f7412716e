//! Durable commits, against the least that durability can cost here: a line appended to a file and
//! flushed. And the start: how long a look at the whole database takes.

use std::{
    fs::OpenOptions,
    io::Write as _,
    path::Path,
    sync::mpsc,
    time::{Duration, Instant},
};

use clawgate_core::{
    frame::RawJson,
    store::{Commit, CommitId, Epoch, Table, Write},
};
use clawgate_smol::store::{FILE_NAME, Store, StoreFile, StoreOptions};

use crate::{
    Effort, Outcome,
    table::{self, count, median, mib, millis, quantile},
};

/// A row of about the size of a paired device.
const DOCUMENT: usize = 400;

pub(crate) fn measure(effort: Effort) -> Outcome {
    table::say(
        "durable state: each commit is one row and one line of the audit log, on disk before it counts",
    )?;
    let folder = tempfile::tempdir()?;
    let length = match effort {
        Effort::Full => Duration::from_secs(5),
        Effort::Quick => Duration::from_millis(300),
    };
    let bare = appends(&folder.path().join("bare"), length)?;
    let mut table = table::Table::new(&["", "per second", "of bare appends", "median", "99 %"]);
    let mut row = |name: &str, run: &mut Run| {
        table.row(vec![
            name.to_owned(),
            count(run.per_second()),
            format!("{:.2}", run.per_second() / bare.per_second()),
            millis(median(&run.waits)),
            millis(quantile(&mut run.waits, 0.99).unwrap_or_default()),
        ]);
    };
    row("append and flush", &mut bare.clone());
    for at_once in [1, 10, 100, 1_000] {
        let mut run = commits(&folder.path().join(at_once.to_string()), at_once, length)?;
        row(&format!("commits, {at_once} at once"), &mut run);
    }
    table.print()?;
    starts(folder.path(), effort)
}

/// How long each took, and all together.
#[derive(Clone)]
struct Run {
    waits: Vec<Duration>,
    took: Duration,
}

impl Run {
    fn per_second(&self) -> f64 {
        self.waits.len() as f64 / self.took.as_secs_f64()
    }
}

fn appends(path: &Path, length: Duration) -> Outcome<Run> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    let line = [b'.'; DOCUMENT + 100];
    let mut waits = Vec::new();
    let start = Instant::now();
    while start.elapsed() < length {
        let begin = Instant::now();
        file.write_all(&line)?;
        file.sync_data()?;
        waits.push(begin.elapsed());
    }
    let took = start.elapsed();
    Ok(Run { waits, took })
}

fn commits(folder: &Path, at_once: usize, length: Duration) -> Outcome<Run> {
    let opened = StoreFile::open(&folder.join(FILE_NAME), StoreOptions::default())?;
    let (tell, outcomes) = mpsc::channel();
    let store = Store::start(opened.file, move |id, outcome| {
        // After the measurement, nobody listens.
        let _ = tell.send((id, outcome));
    })?;
    let mut begun = Vec::new();
    let mut waits = Vec::new();
    let start = Instant::now();
    for n in 0..at_once {
        begun.push(Instant::now());
        store.submit(commit(n)?);
    }
    while start.elapsed() < length {
        let (id, outcome) = outcomes.recv()?;
        outcome?;
        let at = usize::try_from(id.0)?;
        waits.extend(begun.get(at).map(Instant::elapsed));
        store.submit(commit(begun.len())?);
        begun.push(Instant::now());
    }
    let took = start.elapsed();
    store.close();
    Ok(Run { waits, took })
}

fn commit(n: usize) -> Outcome<Commit> {
    Ok(Commit {
        id: CommitId(n as u64),
        epoch: Epoch(0),
        writes: vec![
            Write::Put {
                table: Table::Device,
                // Some thousand devices, which come again and again.
                key: format!("{:05}", n * 7_919 % 4_999),
                document: RawJson::encode(&"x".repeat(DOCUMENT))?,
            },
            Write::Audit {
                entry: RawJson::encode(&format!("line {n}"))?,
            },
        ],
    })
}

/// Opens databases of several sizes: the file is read and checked as a whole.
fn starts(folder: &Path, effort: Effort) -> Outcome {
    let sizes: &[u64] = match effort {
        Effort::Full => &[1, 10, 100, 250],
        Effort::Quick => &[1],
    };
    table::say("the start: opening, checking and reading a database, from the system's memory")?;
    let mut table = table::Table::new(&["size", "time"]);
    for megabytes in sizes {
        let path = folder.join(format!("{megabytes}.sqlite"));
        let options = StoreOptions {
            audit_rows: u64::MAX,
            ..StoreOptions::default()
        };
        let opened = StoreFile::open(&path, options)?;
        let store = Store::start(opened.file, |_, _| {})?;
        let entry = RawJson::encode(&"x".repeat(1_000))?;
        let lines = usize::try_from(megabytes * 1_000)?;
        store.submit(Commit {
            id: CommitId(1),
            epoch: Epoch(0),
            writes: vec![Write::Audit { entry }; lines],
        });
        store.close();
        let size = std::fs::metadata(&path)?.len();
        let begin = Instant::now();
        let opened = StoreFile::open(&path, StoreOptions::default())?;
        table.row(vec![mib(size), millis(begin.elapsed())]);
        drop(opened);
    }
    table.print()
}
