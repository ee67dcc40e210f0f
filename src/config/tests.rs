//! What holds of settings, whatever their source.

use super::*;
use std::io::Write;

fn load_from(flags: &[&str], variables: &[(&str, &str)]) -> Result<(Command, Config), ConfigError> {
    load(Surroundings {
        arguments: std::iter::once("anser").chain(flags.iter().copied()).map(Into::into).collect(),
        environment: &|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into())
        },
        utc_offset_seconds: 3600,
    })
}

fn config(flags: &[&str], variables: &[(&str, &str)]) -> Config {
    load_from(flags, variables).expect("allowed").1
}

fn refusal(flags: &[&str], variables: &[(&str, &str)]) -> String {
    let error = load_from(flags, variables).expect_err("refused");
    assert!(!matches!(error, ConfigError::Usage(_)), "not ours: {error}");
    error.to_string()
}

/// A file that is gone when the test is over.
struct File(PathBuf);

impl File {
    fn with(name: &str, text: &str) -> File {
        let name = format!("anser-config-{}-{name}.toml", std::process::id());
        let file = File(std::env::temp_dir().join(name));
        let mut opened = std::fs::File::create(&file.0).expect("a place for temporary files");
        opened.write_all(text.as_bytes()).expect("room for a few bytes");
        file
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("temporary folders have plain names")
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn nothing_said_means_the_documented_defaults() {
    let (command, config) = load_from(&[], &[]).expect("allowed");
    assert_eq!(command, Command::Serve);
    assert_eq!(config.http.to_string(), "127.0.0.1:8093");
    assert_eq!(config.ws.to_string(), "127.0.0.1:6666");
    assert_eq!(config.admin.to_string(), "127.0.0.1:8094");
    assert_eq!(config.data_dir, PathBuf::from("./data"));
    assert_eq!((config.shards, config.pin_from), (None, 0));
    assert_eq!(config.disk_reserve_mb, 1024);
    assert_eq!((config.retain_days, config.retain_messages), (None, None));
    assert_eq!(config.indexer_core, IndexerCore::Last);
    assert_eq!((config.errors, config.utc_offset_seconds), (ErrorStyle::Seed, 3600));
    assert_eq!((config.durability_word(), config.log.as_str()), ("sync", "info"));
}

/// Invariant 1 of config.
#[test]
fn flag_beats_variable_beats_file_beats_default() {
    let file = File::with("order", "shards = 3\nerrors = \"rest\"\nhttp = \"127.0.0.1:1\"\n");
    let variables = [("ANSER_CONFIG", file.path()), ("ANSER_SHARDS", "5"), ("ANSER_WS", "[::1]:0")];
    let chosen = config(&["serve", "--shards=7"], &variables);
    assert_eq!(chosen.shards, Some(7));
    assert_eq!(chosen.errors, ErrorStyle::Rest);
    assert_eq!(chosen.ws.to_string(), "[::1]:0");
    assert_eq!(chosen.admin.port(), 8094);
    assert_eq!(config(&[], &variables[..2]).shards, Some(5));
    assert_eq!(config(&["--config", file.path()], &[]).shards, Some(3));
}

#[test]
fn an_earlier_source_hides_a_wrong_value_of_a_later_one() {
    assert_eq!(config(&["--shards", "2"], &[("ANSER_SHARDS", "many")]).shards, Some(2));
}

#[test]
fn retention_is_off_with_0() {
    let of = |flags: &[&str]| {
        let config = config(flags, &[]);
        (config.retain_days, config.retain_messages)
    };
    assert_eq!(of(&["--retain-days", "0", "--retain-messages", "0"]), (None, None));
    assert_eq!(of(&["--retain-days", "30", "--retain-messages", "100"]), (Some(30), Some(100)));
}

#[test]
fn a_variable_that_is_spelled_as_a_setting_and_is_none_is_told() {
    let variables = ["ANSER_SHARD", "ANSER_SHARDS", "PATH", "ANSER_CONFIG", "ANSER_HTPP"];
    let unknown = sources::unknown(variables.into_iter().map(Into::into));
    assert_eq!(unknown, ["ANSER_HTPP", "ANSER_SHARD"]);
}

#[test]
fn an_empty_variable_is_not_set() {
    assert_eq!(config(&[], &[("ANSER_SHARDS", "")]).shards, None);
}

#[test]
fn a_wrong_value_names_the_setting_the_value_and_what_is_allowed() {
    let expected = "`0` is not allowed; allowed is a whole number, 1 to 256";
    assert_eq!(refusal(&["--shards", "0"], &[]), format!("--shards: {expected}"));
    assert_eq!(refusal(&[], &[("ANSER_SHARDS", "0")]), format!("ANSER_SHARDS: {expected}"));
    let file = File::with("wrong", "shards = 0\n");
    let said = refusal(&["--config", file.path()], &[]);
    assert_eq!(said, format!("shards in {}: {expected}", file.path()));
}

/// Invariant 2 of config.
#[test]
fn every_setting_refuses_nonsense_and_names_itself() {
    for (name, value) in [
        ("data-dir", ""),
        ("http", "localhost:80"),
        ("ws", "127.0.0.1"),
        ("admin", "8094"),
        ("shards", "257"),
        ("shards", "-1"),
        ("pin-from", "first"),
        ("indexer-core", "last"),
        ("durability", "fast"),
        ("disk-reserve-mb", "1G"),
        ("retain-days", "36501"),
        ("retain-days", "a week"),
        ("retain-messages", "99"),
        ("retain-messages", "-1"),
        ("store", "tape"),
        ("auth", "none"),
        ("i-know-this-is-open", "perhaps"),
        ("errors", "http"),
        ("utc-offset", "8"),
        ("utc-offset", "+19:00"),
        ("utc-offset", "+08:60"),
        ("utc-offset", "+０8:0"),
        ("log", "anser=loudly"),
    ] {
        let said = refusal(&[&format!("--{name}={value}")], &[]);
        let expected = format!("--{name}: `{value}` is not allowed; allowed is ");
        assert!(said.starts_with(&expected), "{said}");
    }
}

#[test]
fn token_authentication_is_refused_as_not_built() {
    assert!(refusal(&["--auth", "token"], &[]).contains("--auth: `token` is not built yet"));
    assert!(load_from(&["--auth", "open"], &[]).is_ok());
}

/// Invariant 3 of config.
#[test]
fn nothing_listens_off_loopback_unless_the_operator_knows() {
    for name in ["http", "ws", "admin"] {
        let flag = format!("--{name}=0.0.0.0:9000");
        let said = refusal(&[&flag], &[]);
        assert!(said.starts_with(&format!("--{name}: `0.0.0.0:9000` can be reached")), "{said}");
        assert!(said.contains("--i-know-this-is-open"));
        assert!(load_from(&[&flag, "--i-know-this-is-open"], &[]).is_ok());
        assert!(load_from(&[&flag], &[("ANSER_I_KNOW_THIS_IS_OPEN", "true")]).is_ok());
        assert!(load_from(&[&flag, "--i-know-this-is-open=false"], &[]).is_err());
    }
}

#[test]
fn two_listeners_never_share_an_address() {
    let said = refusal(&["--ws", "127.0.0.1:8093"], &[]);
    assert!(said.starts_with("--ws: `127.0.0.1:8093` is the address of --http"), "{said}");
    assert!(load_from(&["--ws=127.0.0.1:0", "--http=127.0.0.1:0"], &[]).is_ok());
}

#[test]
fn a_file_is_refused_that_cannot_be_read_or_says_more_than_there_is() {
    let said = refusal(&["--config", "/nowhere/anser.toml"], &[]);
    assert!(said.starts_with("--config: cannot read /nowhere/anser.toml"), "{said}");
    let unknown = File::with("unknown", "shard = 3\n");
    let said = refusal(&["--config", unknown.path()], &[]);
    assert!(said.contains("`shard`") && said.contains("shards"), "{said}");
    let broken = File::with("broken", "shards 3\n");
    assert!(refusal(&["--config", broken.path()], &[]).contains("is not TOML"));
}

#[test]
fn offsets_are_read_to_the_minute() {
    assert_eq!(config(&["--utc-offset", "-05:30"], &[]).utc_offset_seconds, -19_800);
    assert_eq!(config(&["--utc-offset", "+08:00"], &[]).utc_offset_seconds, 28_800);
}

#[test]
fn a_store_that_keeps_nothing_promises_nothing() {
    assert_eq!(config(&["--store=memory", "--durability=sync"], &[]).durability_word(), "none");
    assert_eq!(config(&["--durability=async"], &[]).durability_word(), "async");
}

#[test]
fn doctor_is_a_command_with_its_folder() {
    let (command, config) = load_from(&["doctor", "--data-dir", "/d"], &[]).expect("allowed");
    assert_eq!((command, config.data_dir), (Command::Doctor, PathBuf::from("/d")));
}

#[test]
fn bad_usage_exits_with_two_and_help_with_zero() {
    for (flags, code) in [(&["--shard", "3"][..], 2), (&["start"], 2), (&["--help"], 0)] {
        match load_from(flags, &[]) {
            Err(ConfigError::Usage(usage)) => assert_eq!(usage.exit_code(), code, "{flags:?}"),
            other => panic!("{flags:?} gave {other:?}"),
        }
    }
}

#[test]
fn the_indexer_has_a_core_or_shares_all() {
    assert_eq!(config(&["--indexer-core", "1"], &[]).indexer_core, IndexerCore::At(1));
    assert_eq!(config(&["--indexer-core", "shared"], &[]).indexer_core, IndexerCore::Shared);
}
