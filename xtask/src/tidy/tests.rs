//! Each check against a snippet that breaks its rule and one that keeps it; then the tree itself.

use super::source::Source;
use super::{Finding, check, dependencies, functions, lists, text, unsafety};
use std::path::Path;

/// The findings of `run` on `code`, as `line: text`.
fn findings_of(code: &str, run: fn(&Source, &mut Vec<Finding>)) -> Vec<String> {
    let mut findings = Vec::new();
    run(&Source::new("crates/x/src/a.rs", code), &mut findings);
    findings
        .iter()
        .map(|f| format!("{}: {}", f.line, f.what))
        .collect()
}

#[track_caller]
fn assert_finds(code: &str, run: fn(&Source, &mut Vec<Finding>), expected: &[&str]) {
    let found = findings_of(code, run);
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(
            found.starts_with(expected),
            "{found:?} does not start with {expected:?}"
        );
    }
}

#[test]
fn the_tree_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let findings = check(root).unwrap();
    let listed: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(
        listed.is_empty(),
        "tidy has findings:\n{}",
        listed.join("\n")
    );
}

#[test]
fn literals_and_comments_are_no_code() {
    let source = Source::new(
        "a.rs",
        "let a = \"unsafe { // }\"; // note\nlet b = r#\"fn \"x\" {\"#; let c = '{'; /* } /* */ */ d",
    );
    assert_eq!(source.code[0].trim_end(), "let a = \"             \";");
    assert_eq!(source.comments[0].trim(), "// note");
    assert!(
        !source.code[1].contains('{') && source.code[1].ends_with(" d"),
        "{:?}",
        source.code
    );
    assert!(!source.code[1].contains('}'));
}

#[test]
fn lifetimes_and_escaped_characters_are_told_apart() {
    let source = Source::new("a.rs", "fn f<'a>(x: &'a str) { g('\\'', '\"', '\\u{41}') }");
    assert!(source.code[0].contains("&'a str"));
    assert!(source.code[0].ends_with(") }"), "{:?}", source.code);
}

#[test]
fn a_function_has_at_most_70_lines() {
    let function =
        |lines: usize| format!("//! m\nfn long() {{\n{}}}\n", "    f();\n".repeat(lines));
    assert_finds(&function(68), functions::check, &[]);
    assert_finds(
        &function(69),
        functions::check,
        &["2: function long has 71 lines"],
    );
}

#[test]
fn function_types_and_declarations_have_no_body() {
    let code = format!(
        "trait T {{\n    fn a(&self, g: [u8; 3]) -> fn(u8);\n{}}}",
        "\n".repeat(90)
    );
    assert_finds(&code, functions::check, &[]);
}

#[test]
fn a_module_starts_with_its_doc() {
    assert_finds("//! what it owns\nuse a;\n", text::check, &[]);
    assert_finds("\nuse a;\n", text::check, &["2: a module starts with //!"]);
    assert_finds("// no doc\n", text::check, &["1: a module starts with //!"]);
}

#[test]
fn a_promise_names_its_issue() {
    assert_finds("//! m\n// TODO(#12): later\n", text::check, &[]);
    assert_finds("//! m\nlet a = \"TODO\";\n", text::check, &[]);
    assert_finds(
        "//! m\n// TODO later\n",
        text::check,
        &["2: TODO without an issue"],
    );
    assert_finds(
        "//! m\na(); // FIXME(soon)\n",
        text::check,
        &["2: FIXME without an issue"],
    );
}

#[test]
fn matches_is_never_a_statement() {
    let good = "//! m\nfn a() -> bool {\n    assert!(matches!(x, Y));\n    matches!(x, Y)\n}\n";
    assert_finds(good, text::check, &[]);
    let bad = "//! m\nfn a() {\n    b();\n    matches!(x, Some(_));\n}\n";
    assert_finds(bad, text::check, &["4: matches! as a statement"]);
}

#[test]
fn sources_are_ascii() {
    let code = "//! m\nlet a = \"\u{e9}\";\n";
    assert_finds(code, text::check, &["2: character U+00E9"]);
}

#[test]
fn conflicts_are_resolved() {
    let code = "//! m\n<<<<<<< ours\na();\n>>>>>>> theirs\n";
    assert_finds(code, text::check, &["2: a conflict", "4: a conflict"]);
}

#[test]
fn leftovers_are_found_by_name() {
    let files = ["src/a.rs", "src/a.rs.orig", "b.bak", "c~"].map(str::to_owned);
    let found: Vec<String> = text::leftovers(&files)
        .into_iter()
        .map(|f| f.path)
        .collect();
    assert_eq!(found, ["src/a.rs.orig", "b.bak", "c~"]);
}

#[test]
fn unsafe_blocks_say_why_they_are_sound() {
    let good = "\
//! m
// SAFETY: long enough, checked above.
#[expect(unsafe_code, reason = \"kernel fills it\")]
let filled =
    unsafe { f() };
// SAFETY: no shared state.
unsafe impl Send for A {}
pub unsafe fn handed_on() {}
";
    assert_finds(good, unsafety::check, &[]);
    let bad = "//! m\n// SAFETY: this one is\nunsafe { a() };\nunsafe { b() };\n";
    assert_finds(bad, unsafety::check, &["4: unsafe without"]);
}

#[test]
fn a_long_file_is_listed_or_a_finding() {
    let long = |path: &str, lines: usize| Source::new(path, &"//!\n".repeat(lines));
    let sources = [
        long("crates/x/src/a.rs", 501),
        long("crates/x/tests/b.rs", 600),
        long("crates/x/tests/grown.rs", 601),
        long("crates/x/tests/mended.rs", 400),
        long("crates/x/src/source.rs", 600),
    ];
    let list = "crates/x/tests/b.rs 600\ncrates/x/tests/grown.rs 600\n\
                crates/x/tests/mended.rs 600\ncrates/x/src/source.rs 600\ngone.rs 700\n";
    let lists = lists::Lists {
        long_files: lists::parse(list).unwrap(),
        ..lists::Lists::default()
    };
    let mut findings = Vec::new();
    lists::file_lengths(&sources, &lists, &mut findings);
    let found: Vec<&str> = findings.iter().map(|f| f.path.as_str()).collect();
    assert_eq!(
        found,
        [
            "crates/x/src/a.rs",
            "crates/x/tests/grown.rs",
            "crates/x/tests/mended.rs",
            "crates/x/src/source.rs",
            "gone.rs"
        ]
    );
}

#[test]
fn unsafe_code_stays_in_listed_files_and_is_counted() {
    let block = "//!\n// SAFETY: so.\nunsafe { a() };\n";
    let sources = [Source::new("a.rs", block), Source::new("b.rs", block)];
    let with = |list: &str| {
        let unsafe_files = lists::parse_table(list).unwrap();
        let lists = lists::Lists {
            unsafe_files,
            ..lists::Lists::default()
        };
        let mut findings = Vec::new();
        lists::unsafe_files(&sources, &lists, &mut findings);
        findings.into_iter().map(|f| f.path).collect::<Vec<_>>()
    };
    let row = |file: &str, blocks: u32| format!("| `{file}` | {blocks} | for | that |\n");
    let both = row("a.rs", 1) + &row("b.rs", 1);
    let head = "| file | blocks | what for | what must hold |\n|---|---|---|---|\n";
    assert_eq!(with(&format!("{head}{both}")), Vec::<String>::new());
    assert_eq!(with(&row("a.rs", 1)), ["b.rs"]);
    assert_eq!(with(&(row("a.rs", 2) + &row("b.rs", 1))), ["a.rs"]);
    assert_eq!(with(&(both + &row("c.rs", 1))), ["c.rs"]);
}

#[test]
fn a_list_entry_that_cannot_be_read_is_an_error() {
    assert!(lists::parse("only-a-path").is_err());
    assert!(lists::parse_table("| `a.rs` | many | for | that |").is_err());
    assert!(lists::parse("# comment\n\npath 3").is_ok());
}

#[test]
fn every_dependency_has_its_reason() {
    let manifest = "[workspace]\nresolver = \"3\"\n\n[workspace.dependencies]\nours = { path = \"crates/ours\" }\n\
                    # why\nclap = \"4\"\nserde = { version = \"1\" }\n\n[workspace.lints.rust]\nlint = \"warn\"\n";
    let document = "| `clap` | the command line |\n| `gone` | no longer there |\n";
    let found: Vec<String> = dependencies::findings(manifest, document)
        .into_iter()
        .map(|finding| finding.what)
        .collect();
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[0].contains("serde") && found[1].contains("gone"),
        "{found:?}"
    );
}
