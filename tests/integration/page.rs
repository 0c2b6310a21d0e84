//! The flow matrix and the level-3 diagram as pictures and pages: what is written, and how a real browser shows and prints it.

use std::collections::BTreeSet;
use std::process::{Command, Output};

use camino::{Utf8Path, Utf8PathBuf};

const CASE: &str = "tests/cases/matrix/fleet.yaml";
const PROOF: &str = "tests/cases/matrix/proof.json";

/// The inventories that are drawn, each with its number of zones and endpoints, and of endpoints among them.
const FLEETS: [(&str, usize, usize); 3] = [(CASE, 4, 1), ("inventories/demo", 4, 0), ("inventories/france", 14, 4)];

fn output_of(args: &[&str]) -> Output {
    let root = Utf8Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_provision"));
    command.args(args).current_dir(root).env_clear().env("COLUMNS", "100").output().unwrap()
}

fn printed(args: &[&str]) -> String {
    let output = output_of(args);
    assert!(output.status.success() && output.stderr.is_empty(), "{args:?} {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn matrix(inventory: &str, args: &[&str]) -> String {
    printed(&[&["matrix", "-i", inventory, "--as-of", "2027-02-01"], args].concat())
}

fn page(inventory: &str) -> String {
    matrix(inventory, &["--format", "html"])
}

fn network(inventory: &str, args: &[&str]) -> String {
    printed(&[&["graph", "-i", inventory, "--scope", "network"], args].concat())
}

/// A browser with a profile of its own.
struct Browser {
    folder: tempfile::TempDir,
}

impl Browser {
    /// Returns none, and says so, where there is no browser: somewhere else than in CI that is no failure.
    fn for_test(test: &str) -> Option<Self> {
        let found = Command::new("chromium").arg("--version").output().is_ok_and(|output| output.status.success());
        if !found {
            assert!(std::env::var_os("CI").is_none(), "{test} needs `chromium`, and in CI nothing is skipped");
            eprintln!("skipped: {test} needs `chromium`, which `scripts/tools tests` installs");
            return None;
        }
        Some(Self { folder: tempfile::tempdir().unwrap() })
    }

    fn path(&self, name: &str) -> Utf8PathBuf {
        Utf8Path::from_path(self.folder.path()).unwrap().join(name)
    }

    fn run(&self, html: &str, args: &[&str]) -> Vec<u8> {
        let file = self.path("page.html");
        provision::fs::write_atomic(&file, html.as_bytes(), 0o600).unwrap();
        let mut command = Command::new("chromium");
        command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]);
        command.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
        command.arg(format!("--user-data-dir={}", self.path("profile"))).env("HOME", self.folder.path());
        let output = command.args(args).arg(format!("file://{file}")).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout
    }

    /// Returns what the browser made of a page.
    fn dom(&self, html: &str) -> String {
        String::from_utf8(self.run(html, &["--window-size=1280,1600", "--dump-dom"])).unwrap()
    }

    /// Returns what does not fit: pages wider than the window, cells and tables wider than their place, and in pictures texts
    /// that leave the picture or lie on others. The second value is how many texts of pictures were looked at.
    fn misfits(&self, html: &str) -> (Vec<String>, usize) {
        // The page itself lets no script run; this copy of it is only measured.
        let open = html.replace("default-src 'none'; style-src 'unsafe-inline'", "script-src 'unsafe-inline'");
        let dom = self.dom(&format!("{open}<script>{MEASURE}</script>"));
        let attribute = |name: &str| {
            let (_, rest) = dom.split_once(&format!("{name}=\"")).unwrap();
            rest.split_once('"').unwrap().0.replace("&quot;", "\"").replace("&lt;", "<").replace("&gt;", ">")
        };
        let misfits = attribute("data-misfits").replace("&amp;", "&");
        (serde_json::from_str(&misfits).unwrap(), attribute("data-texts").parse().unwrap())
    }
}

/// Looks for what does not fit, and leaves what it finds in the root element.
const MEASURE: &str = r#"
const found = [];
const root = document.documentElement;
if (root.scrollWidth > innerWidth) found.push(`the page is ${root.scrollWidth} wide`);
for (const part of document.querySelectorAll('th, td, .scroll, li, dd, p'))
  if (part.scrollWidth > part.clientWidth + 1 && part.clientWidth > 0) found.push(`too wide: ${part.textContent.slice(0, 80)}`);
let texts = 0;
for (const svg of document.querySelectorAll('svg')) {
  const frame = svg.getBoundingClientRect();
  const boxes = [...svg.querySelectorAll('text')].map(text => [text.textContent, text.getBoundingClientRect()]);
  texts += boxes.length;
  boxes.forEach(([name, box], at) => {
    if (box.left < frame.left || box.right > frame.right || box.top < frame.top || box.bottom > frame.bottom)
      found.push(`outside of the picture: ${name}`);
    for (const [other, against] of boxes.slice(at + 1)) {
      const across = Math.min(box.right, against.right) - Math.max(box.left, against.left);
      const down = Math.min(box.bottom, against.bottom) - Math.max(box.top, against.top);
      if (across > 1 && down > 3.5) found.push(`${name} lies on ${other}`);
    }
  });
}
for (const word of document.querySelectorAll('td strong, .badge'))
  if (word.getClientRects().length > 1 && !word.textContent.trim().includes(' ')) found.push(`broken: ${word.textContent}`);
root.dataset.misfits = JSON.stringify(found);
root.dataset.texts = texts;
"#;

#[test]
fn the_matrix_says_what_is_waived_and_what_was_seen() {
    for format in ["text", "csv", "markdown", "svg"] {
        insta::assert_snapshot!(format!("proved_{format}"), matrix(CASE, &["--proof", PROOF, "--format", format]));
    }
    insta::assert_snapshot!("proved_hosts_svg", matrix(CASE, &["--by", "host", "--proof", PROOF, "--format", "svg"]));
    insta::assert_snapshot!("proved_of_a_host", matrix(CASE, &["--by", "host", "--limit", "ctl-01", "--proof", PROOF]));
}

#[test]
fn a_page_has_all_of_it_in_both_languages() {
    for lang in ["en", "fr"] {
        let page = matrix(CASE, &["--proof", PROOF, "--format", "html", "--lang", lang]);
        let (_, body) = page.split_once("</style>").unwrap();
        // Pictures have snapshots of their own, and the version changes with each release.
        let mut text = body.replace("</", "\n</").replace(env!("CARGO_PKG_VERSION"), "VERSION");
        while let (Some(from), Some(to)) = (text.find("<svg"), text.find("</svg>")) {
            text.replace_range(from..to + "</svg>".len(), "PICTURE");
        }
        insta::assert_snapshot!(format!("page_{lang}"), text);
    }
    insta::assert_snapshot!("network_svg", network(CASE, &["--format", "svg", "--lang", "fr"]));
    insta::assert_snapshot!("network_dot", network(CASE, &["--format", "dot"]));
}

#[test]
fn no_text_of_the_inventory_becomes_markup() {
    let all = [
        matrix(CASE, &["--proof", PROOF, "--format", "html"]),
        matrix(CASE, &["--proof", PROOF, "--format", "svg"]),
        matrix(CASE, &["--by", "host", "--format", "svg"]),
        network(CASE, &["--format", "svg"]),
    ];
    for text in all {
        for wrong in ["<script", "<b>", "<i>", "<host>", "<!--", "\u{202e}", "url(", "@import", "<link", "src="] {
            assert!(!text.contains(wrong), "{wrong}: {text}");
        }
        assert!(text.contains("Nuage &lt;b&gt;&amp; Cie&lt;/b&gt;"));
        let namespaces = text.matches("xmlns=\"http://www.w3.org/2000/svg\"").count();
        assert_eq!(text.matches("http").count(), namespaces + text.matches("<meta http-equiv").count());
    }
    assert!(!matrix(CASE, &[]).contains('\u{202e}'));
}

#[test]
fn what_is_drawn_is_what_is_declared() {
    for (inventory, ends, outside) in FLEETS {
        let csv = matrix(inventory, &["--format", "csv"]);
        let pairs = |state: &str| -> usize {
            let of_state = csv.lines().filter(|line| line.contains(&format!(",\"{state}\",")));
            let pairs: BTreeSet<String> = of_state
                .map(|line| {
                    line.split(',')
                        .take(2)
                        .map(|side| side.split(" (").next().unwrap().replace('"', ""))
                        .collect::<Vec<_>>()
                        .join(" ")
                })
                .collect();
            pairs.len()
        };
        let denied = pairs("denied");
        for text in [page(inventory), matrix(inventory, &["--format", "svg"])] {
            let count = |state: &str| text.matches(&format!("data-state=\"{state}\"")).count();
            assert_eq!(count("denied"), denied, "{inventory}");
            assert_eq!(
                count("denied") + count("allowed") + count("waived"),
                ends * ends - outside * outside,
                "{inventory}"
            );
            assert!(count("waived") > 0 && count("allowed") > 0, "{inventory}");
        }
    }
}

#[test]
fn a_proof_of_something_else_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = Utf8Path::from_path(folder.path()).unwrap().join("proof.json");
    let proof = provision::fs::read_to_string(&Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join(PROOF)).unwrap();
    let mut said = String::new();
    for (from, to) in [
        ("\"version\": 1", "\"version\": 99"),
        ("\"version\": 1", "\"release\": 1"),
        ("\"from\": \"bastion\"", "\"from\": \"gone\""),
        ("\"10.1.10.2\"", "\"10.9.9.9\""),
        ("\"tcp\", \"port\": 22, \"expected\": \"allowed\"", "\"tcp\", \"port\": 23, \"expected\": \"allowed\""),
    ] {
        assert!(proof.contains(from), "{from}");
        provision::fs::write_atomic(&file, proof.replace(from, to).as_bytes(), 0o600).unwrap();
        let output = output_of(&["matrix", "-i", CASE, "--proof", file.as_str()]);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{from} {output:?}");
        said.push_str(&String::from_utf8(output.stderr).unwrap().replace(file.as_str(), "proof.json"));
    }
    insta::assert_snapshot!(said);
}

#[test]
fn what_is_contradicted_is_shown_so_even_where_it_is_waived() {
    let folder = tempfile::tempdir().unwrap();
    let file = Utf8Path::from_path(folder.path()).unwrap().join("proof.json");
    let proof = provision::fs::read_to_string(&Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join(PROOF)).unwrap();
    // Between hosts of `admin` there is a waived flow; what is open beside its flows was not to be.
    let open = proof.replace(
        "\"seen\": \"not-tried\", \"verdict\": \"not-tried\"",
        "\"seen\": \"connected\", \"verdict\": \"contradicted\"",
    );
    assert_ne!(open, proof);
    provision::fs::write_atomic(&file, open.as_bytes(), 0o600).unwrap();
    let args = |format| matrix(CASE, &["--proof", file.as_str(), "--format", format]);
    let html = args("html");
    let (_, cell) = html.split_once("title=\"admin → admin, waived").unwrap();
    let (cell, _) = cell.split_once("</td>").unwrap();
    let (before, _) = html.split_once("title=\"admin → admin, waived").unwrap();
    assert!(before.ends_with("<td class=\"bad\" data-state=\"contradicted\" "), "{html}");
    assert!(cell.contains("▲ <strong>waived</strong>") && cell.contains("✗ contradicted 1/2"), "{cell}");
    let svg = args("svg");
    let (_, square) = svg.split_once("<g data-state=\"contradicted\"><title>admin → admin: waived").unwrap();
    assert!(
        square.split_once("</g>").unwrap().0.contains(">✗ contradicted<") || square.contains(">✗ contradicted 1/2<")
    );
    assert!(args("text").contains("denied:\n  admin -> admin (all else): contradicted 1/1\n"), "{}", args("text"));
    let bastion = matrix(CASE, &["--proof", file.as_str(), "--by", "host", "--limit", "bastion"]);
    assert!(bastion.ends_with("denied:\n  other hosts -> bastion (all else): contradicted 1/1\n"), "{bastion}");
    let row = "\"admin\",\"admin\",\"denied\",\"all else\",\"\",\"\",\"contradicted 1/1\"";
    assert!(args("csv").lines().any(|line| line == row), "{}", args("csv"));
}

#[test]
fn what_does_not_fit_is_counted() {
    let mut text = "sites: {one: {country: FR}}\nzones: {a: {nature: control}}\nnetworks:\n".to_owned();
    for number in 0..12 {
        text.push_str(&format!("  n{number}: {{site: one, zone: a, cidr: 10.{number}.0.0/16}}\n"));
    }
    text.push_str("flows: [{from: a, to: a, tcp: 22, why: all}]\nhosts:\n");
    for number in 0..150 {
        let (lane, last) = (number % 12, number + 10);
        text.push_str(&format!(
            "  h-{number:03}-x: {{site: one, roles: r{number}, ssh: {{address: 10.{lane}.0.{last}, via: direct}}, "
        ));
        text.push_str(&format!("interfaces: {{eno1: {{network: n{lane}, address: 10.{lane}.0.{last}}}}}}}\n"));
    }
    let folder = tempfile::tempdir().unwrap();
    let file = Utf8Path::from_path(folder.path()).unwrap().join("fleet.yaml");
    provision::fs::write_atomic(&file, text.as_bytes(), 0o600).unwrap();
    let hosts = matrix(file.as_str(), &["--by", "host", "--format", "svg"]);
    assert!(hosts.contains(">102 more hosts are not shown; `--limit` shows them<"), "{hosts}");
    let drawn = network(file.as_str(), &["--format", "svg"]);
    assert!(drawn.contains(">20 more hosts of this site are not drawn; `--limit` draws them<"), "{drawn}");
    // Twelve networks are two frames beside each other, and each host that is drawn is in one of them.
    assert!(drawn.contains(">n9<") && drawn.contains(">n11<") && drawn.matches("<title>h-").count() == 130);
    assert!(
        page(file.as_str()).contains("150 hosts; those with the same site, roles, zones and flows are one row (150).")
    );
}

#[test]
fn a_browser_shows_the_whole_page_and_fetches_nothing() {
    let Some(browser) = Browser::for_test("a_browser_shows_the_whole_page_and_fetches_nothing") else { return };
    for (inventory, ends, outside) in FLEETS {
        let dom = browser.dom(&page(inventory));
        let (_, zones) = dom.split_once("<table class=\"grid\">").unwrap();
        let (grid, _) = zones.split_once("</table>").unwrap();
        // The corner and each end; a heading row and a row for each end.
        assert_eq!((grid.matches("scope=\"col\"").count(), grid.matches("<tr").count()), (ends + 1, ends + 1));
        assert_eq!(grid.matches("scope=\"row\"").count(), ends, "{inventory}");
        assert_eq!(grid.matches("data-state=").count(), ends * ends - outside * outside, "{inventory}");
        assert!(dom.matches("<caption>").count() == dom.matches("<table").count(), "{inventory}");
        for wrong in ["<script", "<link", "<img", "<iframe", " src=", "href=\"http"] {
            assert!(!dom.contains(wrong), "{inventory}: {wrong}");
        }
        let ids: BTreeSet<&str> = dom.split(" id=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
        let links: BTreeSet<&str> = dom.split(" href=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
        assert!(links.len() > 7, "{links:?}");
        for link in links {
            assert!(ids.contains(link.strip_prefix('#').unwrap()), "{inventory}: {link} leads nowhere");
        }
    }
}

#[test]
fn nothing_overflows_and_no_text_lies_on_another() {
    let Some(browser) = Browser::for_test("nothing_overflows_and_no_text_lies_on_another") else { return };
    for (inventory, ..) in FLEETS {
        for lang in ["en", "fr"] {
            let (misfits, texts) = browser.misfits(&matrix(inventory, &["--format", "html", "--lang", lang]));
            assert_eq!(misfits, Vec::<String>::new(), "{inventory} {lang}");
            assert!(texts > 20, "{inventory}: {texts}");
        }
        for picture in [
            matrix(inventory, &["--format", "svg", "--lang", "fr"]),
            matrix(inventory, &["--by", "host", "--format", "svg"]),
            network(inventory, &["--format", "svg", "--lang", "fr"]),
        ] {
            let (misfits, texts) = browser.misfits(&format!("<div style='width: 9000px'>{picture}</div>"));
            let misfits: Vec<String> =
                misfits.into_iter().filter(|misfit| !misfit.starts_with("the page is")).collect();
            assert_eq!(misfits, Vec::<String>::new(), "{inventory}");
            assert!(texts > 10, "{inventory}: {texts}");
        }
    }
    let (misfits, _) = browser.misfits(&matrix(CASE, &["--format", "html", "--proof", PROOF, "--lang", "fr"]));
    assert_eq!(misfits, Vec::<String>::new());
    // What is measured can fail.
    let wide = "<p style='width: 50px; overflow: hidden; white-space: nowrap'>much too long for its place</p>";
    let text = |x: u32| format!("<text x='{x}' y='20' font-size='20'>some words</text>");
    let torn = "<table><tr><td style='max-width: 30px; overflow-wrap: anywhere'><strong>contradicted</strong></table>";
    let (misfits, texts) =
        browser.misfits(&format!("{wide}{torn}<svg width='90' height='30'>{}{}</svg>", text(0), text(30)));
    assert_eq!(texts, 2);
    for expected in [
        "too wide: much",
        "outside of the picture: some words",
        "some words lies on some words",
        "broken: contradicted",
    ] {
        assert!(misfits.iter().any(|misfit| misfit.starts_with(expected)), "{expected}: {misfits:?}");
    }
}

#[test]
fn a_page_is_printed_on_sheets() {
    let Some(browser) = Browser::for_test("a_page_is_printed_on_sheets") else { return };
    for (inventory, at_least) in [("inventories/demo", 7), ("inventories/france", 15)] {
        let pdf = browser.path("page.pdf");
        browser.run(&page(inventory), &["--no-pdf-header-footer", &format!("--print-to-pdf={pdf}")]);
        let bytes = provision::fs::read_at_most(&pdf, 100_000_000).unwrap();
        assert!(bytes.starts_with(b"%PDF-"), "{inventory}");
        let text = String::from_utf8_lossy(&bytes);
        let sheets = text.matches("/Type /Page\n").count();
        assert!((at_least..60).contains(&sheets), "{inventory}: {sheets} sheets");
        // The summary is upright, the matrix and the diagram lie on their side: A4, in points.
        let boxes: BTreeSet<&str> =
            text.split("/MediaBox [").skip(1).map(|rest| rest.split(']').next().unwrap()).collect();
        assert!(boxes.len() == 2, "{inventory}: {boxes:?}");
    }
}
