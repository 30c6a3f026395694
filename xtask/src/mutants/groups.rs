//! What is mutated, and by which tests each part of it must be noticed. Data alone.

/// Files that decide one thing, and their tests.
pub(super) struct Group {
    /// Names the file of results, too.
    pub(super) name: &'static str,
    /// In `crates/bop-storage/src`.
    pub(super) files: &'static [&'static str],
    /// One set after the other, the quickest first: each is asked of the mutants that those before it let
    /// live.
    pub(super) tests: &'static [Tests],
}

/// The engine without the modules above what is tried: each mutant is compiled in a third of the time.
pub(super) struct Part {
    pub(super) name: &'static str,
    /// Lists of modules of `lib.rs`, where a module imports only what stands before it, of the log, and of
    /// test programs.
    pub(super) without: &'static [&'static [&'static str]],
}

/// Some tests of a program.
pub(super) struct Tests {
    /// Where they run.
    pub(super) part: &'static Part,
    /// As the results call them.
    pub(super) name: &'static str,
    /// A test program of the engine; `None`: the library's own tests.
    pub(super) program: Option<&'static str>,
    /// Those whose names have one of these.
    pub(super) filters: &'static [&'static str],
    /// But not one of these.
    pub(super) skipped: &'static [&'static str],
}

const fn lib(
    part: &'static Part,
    name: &'static str,
    filters: &'static [&'static str],
    skipped: &'static [&'static str],
) -> Tests {
    Tests {
        part,
        name,
        program: None,
        filters,
        skipped,
    }
}

const fn program(
    part: &'static Part,
    name: &'static str,
    filters: &'static [&'static str],
) -> Tests {
    Tests {
        part,
        name,
        program: Some(name),
        filters,
        skipped: &[],
    }
}

const WHOLE: Part = Part {
    name: "whole",
    without: &[],
};

/// What neither log nor manifest rests on.
const ABOVE_BOTH: &[&str] = &[
    "view",
    "cache",
    "recordlog",
    "pagestore",
    "checkpoint",
    "backup",
    "db",
];

/// Up to the log.
const LOG: Part = Part {
    name: "log",
    without: &[ABOVE_BOTH, &["manifest", "catalogue", "superblock"]],
};

/// What of the log writes it: formats and recovery need none of that.
const WRITING: &[&str] = &[
    "background",
    "batch_buffer",
    "company",
    "future",
    "gather",
    "group",
    "holds",
    "lead",
    "member",
    "models",
    "pace",
    "parts",
    "queue",
    "reserve",
    "rewrite",
    "rig",
    "ring",
    "settle",
    "shared",
    "spares",
    "state",
    "ticket",
    "unwritten",
    "writer",
];

/// Of the log what reads it.
const READING: Part = Part {
    name: "reading",
    without: &[
        ABOVE_BOTH,
        &["manifest", "catalogue", "superblock"],
        WRITING,
    ],
};

/// Up to the log, with the golden files of its formats.
const FORMATS: Part = Part {
    name: "formats",
    without: &[
        ABOVE_BOTH,
        &["manifest", "catalogue"],
        &["chunk", "documents", "manifest_rows"],
    ],
};

/// The manifest and the catalogue, with those of their tests that open no store and are no models.
const CATALOGUE: Part = Part {
    name: "catalogue",
    without: &[
        ABOVE_BOTH,
        &["superblock"],
        &[
            "catalogue_model",
            "catalogue_names",
            "commit_cursors",
            "commit_cursors_killed",
            "commit_cursors_model",
            "commit_cursors_race",
            "feed_model",
            "feed_rig",
            "feeds",
            "flips",
            "job_model",
            "kept_log",
            "lineage_model",
            "map_growth",
            "model",
            "panics",
            "reader_table",
            "stalls",
            "ten_subscribers",
            "trimming",
            "typed_model",
            "worker",
        ],
    ],
};

/// Every byte of a log or of an index flipped: most of a minute.
const FLIPS: &[&str] = &["recover::tests::flips", "indexed::every_flipped_byte"];
/// Damage and power cuts by the hundred: some seconds.
const MODELS: &[&str] = &["recover::tests::model", "recover::tests::torn", POWER_CUTS];
const POWER_CUTS: &str = "recover::tests::ordinary::power_cuts";
const SLOW_RECOVERY: &[&str] = &[FLIPS[0], FLIPS[1], MODELS[0], MODELS[1], MODELS[2]];
/// Schedules of threads by the thousand, and calls that hang.
const SLOW_DB: &[&str] = &["publish::models", "creation::tests"];

/// Mutants that are no question of these tests.
pub(super) const EXCLUDED: &[&str] = &[
    // What a person reads: no decision hangs on it.
    r"impl .*(Debug|Display) for",
];

pub(super) const GROUPS: &[Group] = &[
    Group {
        name: "tail-rule",
        files: &["log/tail_rule.rs", "log/recover/judge.rs"],
        tests: &[lib(
            &READING,
            "lib",
            &["log::tail_rule::", "log::recover::"],
            FLIPS,
        )],
    },
    // Without `readers.rs`, which reads ahead and judges nothing.
    Group {
        name: "recovery",
        files: &[
            "log/recover/chains.rs",
            "log/recover/databases.rs",
            "log/recover/inspect.rs",
            "log/recover/links.rs",
            "log/recover/mod.rs",
            "log/recover/reading.rs",
            "log/recover/replay.rs",
            "log/recover/sink.rs",
            "log/recover/walk.rs",
        ],
        tests: &[
            lib(&READING, "lib", &["log::recover::"], SLOW_RECOVERY),
            lib(&READING, "lib, models", MODELS, &[]),
        ],
    },
    Group {
        name: "format",
        files: &[
            "log/format/batch.rs",
            "log/format/batch_decode.rs",
            "log/format/batch_encode.rs",
            "log/format/bytes.rs",
            "log/format/catalogue.rs",
            "log/format/decode.rs",
            "log/format/encode.rs",
            "log/format/image.rs",
            "log/format/patch.rs",
            "log/format/record.rs",
            "log/format/record_bytes.rs",
            "log/format/record_log.rs",
            "log/format/seal.rs",
            "log/format/segment.rs",
        ],
        tests: &[
            lib(
                &READING,
                "lib",
                &[
                    "log::format::",
                    "log::scan::",
                    "log::recover::tests::ordinary",
                ],
                &[POWER_CUTS],
            ),
            lib(
                &READING,
                "lib, recovery",
                &["log::recover::"],
                SLOW_RECOVERY,
            ),
            program(&FORMATS, "formats", &["log", "seal"]),
        ],
    },
    Group {
        name: "images",
        files: &[
            "lz4/mod.rs",
            "lz4/zero_runs.rs",
            "page_diff.rs",
            "trials.rs",
        ],
        tests: &[
            lib(
                &READING,
                "lib",
                &["lz4::", "trials::", "log::format::"],
                &[],
            ),
            lib(
                &WHOLE,
                "lib, chunks",
                &["pagestore::", "checkpoint::history"],
                &[],
            ),
        ],
    },
    Group {
        name: "kept",
        files: &["log/kept.rs"],
        tests: &[lib(&LOG, "lib", &["log::kept::"], &[])],
    },
    Group {
        name: "retry",
        files: &[
            "io/policy.rs",
            "runtime/backoff.rs",
            "runtime/breaker.rs",
            "log/rewrite.rs",
        ],
        tests: &[lib(
            &LOG,
            "lib",
            &["io::policy::", "runtime::", "log::rewrite::"],
            &[],
        )],
    },
    Group {
        name: "truncation",
        files: &["log/holds.rs"],
        tests: &[lib(&LOG, "lib", &["log::holds::"], &[])],
    },
    Group {
        name: "release",
        files: &["db/release.rs"],
        tests: &[
            program(&WHOLE, "manifest", &["commit_cursors::", "kept_log::"]),
            lib(&WHOLE, "lib", &["db::release_tests::"], &[]),
            program(&WHOLE, "backup", &["whole::"]),
        ],
    },
    Group {
        name: "replay",
        files: &["db/replay.rs", "db/recovery.rs"],
        tests: &[
            lib(&WHOLE, "lib", &["db::"], SLOW_DB),
            program(&WHOLE, "record_logs", &["ordinary::", "damage::"]),
            program(&WHOLE, "engine", &["contained::", "lifecycle::"]),
        ],
    },
    Group {
        name: "manifest",
        files: &["manifest/invariants.rs", "manifest/lineage.rs"],
        tests: &[
            Tests {
                part: &CATALOGUE,
                name: "manifest",
                program: Some("manifest"),
                filters: &[
                    "rows::",
                    "generations::",
                    "jobs::",
                    "operations::",
                    "writer::",
                    "refused::",
                ],
                skipped: &["as_many_wait_as_may", "a_flipped_byte_closes"],
            },
            Tests {
                part: &CATALOGUE,
                name: "manifest, slow ones",
                program: Some("manifest"),
                filters: &["as_many_wait_as_may", "a_flipped_byte_closes"],
                skipped: &[],
            },
        ],
    },
];
