//! The page for people: self-contained, it reads `/metrics` every second.

/// Served at `/`.
pub const PAGE: &str = include_str!("page.html");

#[cfg(test)]
mod tests {
    use super::PAGE;
    use crate::metrics::{Counter, Gauge};

    #[test]
    fn the_page_loads_nothing_from_elsewhere() {
        assert!(!PAGE.contains("http://") && !PAGE.contains("https://"));
        assert!(!PAGE.contains("src="));
    }

    #[test]
    fn the_page_names_figures_that_exist() {
        let names: Vec<_> = Counter::ALL.iter().map(|figure| figure.name()).collect();
        let gauges: Vec<_> = Gauge::ALL.iter().map(|figure| figure.name()).collect();
        let listed = PAGE.split("FIGURES = [").nth(1).and_then(|rest| rest.split(']').next());
        let listed: Vec<_> = listed
            .expect("a list of figures")
            .split(',')
            .map(|name| name.trim().trim_matches('"'))
            .filter(|name| !name.is_empty())
            .collect();
        assert!(listed.len() > 5);
        for name in listed {
            assert!(names.contains(&name) || gauges.contains(&name), "{name}");
        }
    }
}
