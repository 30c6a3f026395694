//! Which databases a damaged place can touch: what contained means, exactly.

use crate::damage_sample::Sample;
use crate::damage_sample::files::{BLOCK, Files};
use crate::damage_sample::look::Reach;
use bop_storage::log::format::DATA_START;
use bop_storage::pagestore::format::{ChunkFooter, SectionEntry};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use zerocopy::FromBytes;

/// The reach of each byte of a store.
pub(crate) struct Map<'a> {
    sample: &'a Sample,
    /// Of each chunk, the parts that belong to some database: `(from, to, names)`.
    chunks: BTreeMap<&'a Path, Vec<Part>>,
}

impl<'a> Map<'a> {
    pub(crate) fn new(sample: &'a Sample, files: &'a Files) -> Self {
        let names = names_of_ids(sample);
        let chunks = files
            .0
            .iter()
            .filter(|(path, _)| path.starts_with("chunks"));
        let chunks = chunks.map(|(path, bytes)| (path.as_path(), parts_of_chunk(bytes, &names)));
        Self {
            sample,
            chunks: chunks.collect(),
        }
    }

    /// Whether a block is in use: what nobody wrote, nobody reads.
    pub(crate) fn is_used(&self, path: &Path, block: u64, content: &[u8]) -> bool {
        if !path.starts_with("log") || self.sample.step_at(path, block).is_some() {
            return true;
        }
        let at = (block * BLOCK) as usize;
        let is_head = block * BLOCK < DATA_START;
        is_head
            && content[at..at + BLOCK as usize]
                .iter()
                .any(|byte| *byte != 0)
    }

    /// What a flip of one byte can do.
    pub(crate) fn of(&self, path: &Path, byte: u64) -> Reach {
        if let Some(parts) = self.chunks.get(path) {
            let hit = parts
                .iter()
                .filter(|(from, to, _)| (*from..*to).contains(&byte));
            return Reach {
                databases: hit.flat_map(|(_, _, names)| names).copied().collect(),
                ..Reach::default()
            };
        }
        // Superblock, stamps and activations stand there twice.
        let Some(at) = self.sample.step_at(path, byte / BLOCK) else {
            return Reach::default();
        };
        let step = &self.sample.steps[at];
        if at + 1 == self.sample.steps.len() {
            return Reach {
                newest: true,
                ..Reach::default()
            };
        }
        if step.checkpointed {
            return Reach::default();
        }
        let mut reach = Reach {
            databases: step.databases.clone(),
            catalogue: step.catalogue,
            newest: false,
        };
        if step.catalogue {
            // The catalogue stops at the first record it misses: later names are not known.
            let later = self.sample.steps[at..].iter().filter(|step| step.catalogue);
            reach
                .databases
                .extend(later.flat_map(|step| &step.databases));
        }
        reach
    }
}

impl Map<'_> {
    /// What a hole at a block of the log can have hidden, when nothing is known of what was there:
    /// everything that no later commit accounts for.
    pub(crate) fn unproved_from(&self, path: &Path, block: u64) -> Reach {
        let steps = &self.sample.steps;
        let at = match self.sample.step_at(path, block) {
            Some(at) => at,
            // The head of a segment stands for all that came before its first batch.
            None => match (block..block + 4).find_map(|block| self.sample.step_at(path, block)) {
                Some(at) => at,
                None => return Reach::default(),
            },
        };
        if steps[at].checkpointed {
            return Reach::default();
        }
        let later = &steps[at + 1..];
        let proved =
            |name: &&&'static str| later.iter().any(|step| step.databases.contains(**name));
        let names = self.sample.contents.databases.keys();
        Reach {
            databases: names.filter(|name| !proved(name)).copied().collect(),
            catalogue: !later.iter().any(|step| step.catalogue),
            newest: false,
        }
    }
}

/// The ids of the live databases, in the order in which the sample creates them.
fn names_of_ids(sample: &Sample) -> BTreeMap<u64, &'static str> {
    let created = sample
        .steps
        .iter()
        .filter(|step| step.what.starts_with("creation"));
    let live = |step: &crate::damage_sample::Step| {
        let live = step.databases.iter();
        live.copied()
            .find(|name| sample.contents.databases.contains_key(name))
    };
    (1..)
        .zip(created)
        .filter_map(|(id, step)| Some((id, live(step)?)))
        .collect()
}

type Part = (u64, u64, BTreeSet<&'static str>);

fn parts_of_chunk(bytes: &[u8], names: &BTreeMap<u64, &'static str>) -> Vec<Part> {
    let end = bytes.len();
    let footer_at = end - size_of::<ChunkFooter>();
    let footer = ChunkFooter::ref_from_bytes(&bytes[footer_at..]).unwrap();
    let directory_at = footer.directory_offset.get() as usize;
    let directory_bytes = footer.sections.get() as usize * size_of::<SectionEntry>();
    let directory = &bytes[directory_at..directory_at + directory_bytes];
    let entries = <[SectionEntry]>::ref_from_bytes(directory).unwrap();
    let name_of = |entry: &SectionEntry| names.get(&entry.database.get()).copied();
    let all: BTreeSet<_> = entries.iter().filter_map(name_of).collect();
    assert!(2 <= all.len(), "the chunk is a pack of several databases");
    let mut parts: Vec<Part> = entries
        .iter()
        .map(|entry| {
            let to = entry.payload_offset.get() + entry.payload_bytes.get();
            (
                entry.start_offset.get(),
                to,
                name_of(entry).into_iter().collect(),
            )
        })
        .collect();
    let directory_at = directory_at as u64;
    parts.push((0, BLOCK, all.clone()));
    parts.push((
        directory_at,
        directory_at + directory_bytes as u64,
        all.clone(),
    ));
    parts.push((footer_at as u64, end as u64, all));
    parts
}
