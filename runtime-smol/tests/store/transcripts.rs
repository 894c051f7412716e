//! Questions about transcripts: the database answers as the store in memory does.

use std::sync::mpsc;

use clawgate_core::{
    frame::RawJson,
    ids::SessionId,
    rng::Rng,
    store::{Author, Commit, CommitId, Epoch, MemoryStore, Message, TranscriptQuery, Write},
    time::WallTime,
};
use clawgate_smol::store::{Reader, Store, StoreFile, StoreOptions};

fn below(rng: &mut Rng, bound: u64) -> u64 {
    rng.u64() % bound
}

fn session(number: u64) -> SessionId {
    SessionId::new(format!("s{number}"))
}

fn message(rng: &mut Rng, of: u64, seq: u64) -> Message {
    let words = ["alpha", "Beta", "GAMMA", "straße", "δέλτα"];
    let text: Vec<&str> = (0..=below(rng, 4))
        .map(|_| words[below(rng, words.len() as u64) as usize])
        .collect();
    let text = text.join(" ");
    let authors = [Author::Assistant, Author::Note, Author::Tool, Author::User];
    Message {
        session: session(of),
        seq,
        id: format!("m{of}-{seq}"),
        author: authors[below(rng, 4) as usize],
        at: WallTime(below(rng, 20)),
        document: RawJson::encode(&text).unwrap(),
        text,
    }
}

fn question(rng: &mut Rng) -> TranscriptQuery {
    let session_of = |rng: &mut Rng| session(below(rng, 4));
    let max_bytes = [1, 40, usize::MAX][below(rng, 3) as usize];
    let limit = 1 + below(rng, 12) as usize;
    match below(rng, 5) {
        0 => TranscriptQuery::Before {
            session: session_of(rng),
            before: [None, Some(below(rng, 40))][below(rng, 2) as usize],
            limit,
            max_bytes,
        },
        1 => TranscriptQuery::After {
            session: session_of(rng),
            after: below(rng, 40),
            limit,
            max_bytes,
        },
        2 => TranscriptQuery::One {
            session: session_of(rng),
            id: format!("m{}-{}", below(rng, 3), below(rng, 40)),
        },
        3 => TranscriptQuery::Tails {
            sessions: vec![session(0), session(3), session(2)],
            limit,
            max_bytes,
        },
        _ => TranscriptQuery::Search {
            sessions: vec![session(1), session(2)],
            words: vec![["alpha", "beta", "stra", "δέλ"][below(rng, 4) as usize].into()],
            limit,
        },
    }
}

#[test]
fn the_database_answers_as_memory_does() {
    let seed = [41; 32];
    let mut rng = Rng::new(seed);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.sqlite");
    let opened = StoreFile::open(&path, StoreOptions::default()).unwrap();
    let (outcomes, heard) = mpsc::channel();
    let store = Store::start(opened.file, move |id, outcome| {
        outcomes.send((id, outcome)).unwrap();
    })
    .unwrap();
    let mut memory = MemoryStore::default();
    let mut lengths = [0_u64; 3];
    for id in 1..=120 {
        let of = below(&mut rng, 3);
        let next = &mut lengths[of as usize];
        *next += 1;
        let write = match below(&mut rng, 20) {
            0 => Write::Forget {
                session: session(of),
                keep_from: [None, Some(below(&mut rng, *next))][below(&mut rng, 2) as usize],
            },
            _ => Write::Append(message(&mut rng, of, *next)),
        };
        let commit = Commit {
            id: CommitId(id),
            epoch: Epoch(0),
            writes: vec![write],
        };
        memory.apply(&commit);
        store.submit(commit);
        assert_eq!(heard.recv().unwrap(), (CommitId(id), Ok(())));
    }
    let reader = Reader::open(&path).unwrap();
    for _ in 0..500 {
        let query = question(&mut rng);
        assert_eq!(
            reader.transcript(&query).unwrap(),
            memory.query(&query),
            "{query:?}"
        );
    }
    store.close();
}
