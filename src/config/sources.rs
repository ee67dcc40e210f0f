//! One setting looked up in all its sources: invariant 1 of the chapter.

use super::error::{ConfigError, Spelled};
use super::flags::SETTINGS;
use clap::ArgMatches;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

/// Values by setting, each as text with where it came from.
pub struct Sources {
    values: BTreeMap<&'static str, (Spelled, String)>,
}

impl Sources {
    /// Gathers flags, then variables, then the file that they name.
    pub fn open(
        flags: &ArgMatches,
        environment: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<Sources, ConfigError> {
        let mut sources = Sources { values: BTreeMap::new() };
        for name in SETTINGS.iter().chain(&["config"]).copied() {
            sources.add(name, Spelled::Flag(name), flag(flags, name))?;
            let variable = Spelled::Variable(name);
            // An empty variable is how many launchers leave one out.
            let value = environment(&variable.to_string()).filter(|value| !value.is_empty());
            sources.add(name, variable, value)?;
        }
        if let Some((setting, file)) = sources.find("config") {
            sources.add_file(setting, PathBuf::from(file))?;
        }
        Ok(sources)
    }

    /// Where a setting comes from and its text, if it is set at all.
    pub fn find(&self, name: &str) -> Option<(Spelled, String)> {
        self.values.get(name).cloned()
    }

    /// How to name a setting to the operator.
    pub fn setting(&self, name: &'static str) -> Spelled {
        self.find(name).map_or(Spelled::Default(name), |(setting, _)| setting)
    }

    /// The setting's value; `None` if it is not set; refused if `parse` makes nothing of it.
    pub fn read<T>(
        &self,
        name: &'static str,
        allowed: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, ConfigError> {
        assert!(SETTINGS.contains(&name), "{name} is in the list of settings");
        match self.find(name) {
            None => Ok(None),
            Some((setting, value)) => match parse(&value) {
                Some(parsed) => Ok(Some(parsed)),
                None => Err(ConfigError::Value { setting, value, allowed }),
            },
        }
    }

    /// Adds a value unless an earlier source has set it.
    fn add(
        &mut self,
        name: &'static str,
        setting: Spelled,
        value: Option<OsString>,
    ) -> Result<(), ConfigError> {
        let Some(value) = value.filter(|_| !self.values.contains_key(name)) else {
            return Ok(());
        };
        let Ok(text) = value.into_string() else {
            return Err(ConfigError::NotText { setting });
        };
        self.values.insert(name, (setting, text));
        Ok(())
    }

    fn add_file(&mut self, setting: Spelled, file: PathBuf) -> Result<(), ConfigError> {
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(source) => return Err(ConfigError::File { setting, file, source }),
        };
        let table: toml::Table = match text.parse() {
            Ok(table) => table,
            Err(source) => return Err(ConfigError::NotToml { file, source: Box::new(source) }),
        };
        for (key, value) in table {
            let Some(name) = SETTINGS.iter().copied().find(|name| *name == key) else {
                return Err(ConfigError::UnknownKey { file, key, allowed: SETTINGS.join(", ") });
            };
            let text = match value {
                toml::Value::String(text) => text,
                other => other.to_string(),
            };
            self.add(name, Spelled::Key(name, file.clone()), Some(text.into()))?;
        }
        Ok(())
    }
}

/// Those of these variables that begin as settings do, and name none.
pub fn unknown(variables: impl Iterator<Item = OsString>) -> Vec<String> {
    let is_known = |variable: &String| {
        let mut names = SETTINGS.iter().chain(&["config"]);
        names.any(|name| Spelled::Variable(name).to_string() == *variable)
    };
    let texts = variables.filter_map(|name| name.into_string().ok());
    let mut unknown: Vec<String> =
        texts.filter(|name| name.starts_with("ANSER_") && !is_known(name)).collect();
    unknown.sort_unstable();
    unknown
}

/// A flag's text. A subcommand knows some of them only.
fn flag(flags: &ArgMatches, name: &str) -> Option<OsString> {
    flags.try_get_one::<OsString>(name).ok().flatten().cloned()
}
