//! Why a configuration is refused, in words for the operator.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// A setting as its source spells it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Spelled {
    /// `--data-dir`.
    Flag(&'static str),
    /// `ANSER_DATA_DIR`.
    Variable(&'static str),
    /// `data_dir in FILE`.
    Key(&'static str, PathBuf),
    /// Set nowhere; spelled as its flag.
    Default(&'static str),
}

impl fmt::Display for Spelled {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Spelled::Flag(name) => write!(formatter, "--{}", name.replace('_', "-")),
            Spelled::Variable(name) => write!(formatter, "ANSER_{}", name.to_uppercase()),
            Spelled::Key(name, file) => write!(formatter, "{name} in {}", file.display()),
            Spelled::Default(name) => {
                write!(formatter, "--{} (by default)", name.replace('_', "-"))
            }
        }
    }
}

/// Why there is no [`super::Config`].
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The command line does not parse, or asked for help. Says itself how to print and exit.
    #[error(transparent)]
    Usage(#[from] clap::Error),
    /// The configuration file cannot be read.
    #[error("{setting}: cannot read {}: {source}", file.display())]
    File {
        /// Who named the file.
        setting: Spelled,
        /// The file.
        file: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The configuration file is not TOML.
    #[error("{} is not TOML: {source}", file.display())]
    NotToml {
        /// The file.
        file: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// A key that names no setting.
    #[error("{} has a key `{key}` that is no setting; settings are: {allowed}", file.display())]
    UnknownKey {
        /// The file.
        file: PathBuf,
        /// The key.
        key: String,
        /// All keys there are.
        allowed: String,
    },
    /// Something that is not text.
    #[error("{setting}: the value is not valid UTF-8")]
    NotText {
        /// The setting.
        setting: Spelled,
    },
    /// A value that is not allowed.
    #[error("{setting}: `{value}` is not allowed; allowed is {allowed}")]
    Value {
        /// The setting.
        setting: Spelled,
        /// As given.
        value: String,
        /// In words.
        allowed: &'static str,
    },
    /// Token authentication.
    #[error("{setting}: `token` is not built yet; allowed is open")]
    TokenAuth {
        /// The setting.
        setting: Spelled,
    },
    /// A listener that others could reach while anyone may speak for anyone.
    #[error(
        "{setting}: `{address}` can be reached from other machines, where anyone could speak for \
         any user; allowed is a loopback address such as 127.0.0.1:{}, or any address together \
         with --i-know-this-is-open",
        address.port()
    )]
    OpenToAll {
        /// The listener.
        setting: Spelled,
        /// Its address.
        address: SocketAddr,
    },
    /// Two listeners at one address.
    #[error("{setting}: `{address}` is the address of {other}; allowed is one of its own")]
    SharedPort {
        /// The listener.
        setting: Spelled,
        /// The other.
        other: Spelled,
        /// Of both.
        address: SocketAddr,
    },
}

impl ConfigError {
    /// Tells the operator, and gives the exit code: 2 for a mistake, 0 for help.
    pub fn report(&self) -> u8 {
        match self {
            ConfigError::Usage(usage) => {
                // Where standard error is gone there is nobody left to tell.
                let _ = usage.print();
                usage.exit_code() as u8
            }
            other => {
                eprintln!("anser: {other}");
                2
            }
        }
    }
}
