//! Inventories as data: each folder of `tests/cases/inventory` is loaded, and what is reported compared.
//!
//! A case holds the files of an inventory, `expected.txt`, and perhaps `set.txt` with a `--set` per line. With
//! `UPDATE_CASES=1` in the environment the expected texts are written instead.

use std::fmt::Write as _;

use camino::{Utf8Path, Utf8PathBuf};
use jiff::civil::date;
use proptest::prelude::*;
use provision::diag::{Diagnostics, Severity, Sources};
use provision::load::inventory::load_on;
use provision::model::inventory::{Host, Inventory};
use provision::model::selector::Selector;

/// Loads as if on a fixed day, and returns the inventory and what was reported, with paths relative to `root`.
fn load(root: &Utf8Path, path: &Utf8Path, sets: &[String]) -> (Option<Inventory>, String) {
    let mut sources = Sources::default();
    let mut diags = Diagnostics::default();
    let inventory = load_on(date(2026, 6, 1), path, sets, &mut sources, &mut diags);
    (inventory, render(&sources, &diags).replace(&format!("{root}/"), "").replace(root.as_str(), "."))
}

fn render(sources: &Sources, diags: &Diagnostics) -> String {
    let mut text = String::new();
    for diagnostic in diags.iter() {
        let severity = if diagnostic.severity == Severity::Error { "error" } else { "warning" };
        write!(text, "{severity}[{}]", diagnostic.code).unwrap();
        if let Some(primary) = &diagnostic.primary {
            write!(text, " {}", sources.locate(primary.span)).unwrap();
        }
        writeln!(text, ": {}", diagnostic.message).unwrap();
        for label in &diagnostic.labels {
            writeln!(text, "  {}: {}", sources.locate(label.span), label.text).unwrap();
        }
        if let Some(help) = &diagnostic.help {
            writeln!(text, "  help: {help}").unwrap();
        }
    }
    text
}

fn cases() -> Vec<Utf8PathBuf> {
    let root = Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/inventory");
    let mut cases: Vec<_> = root.read_dir_utf8().unwrap().map(|entry| entry.unwrap().into_path()).collect();
    cases.sort();
    cases
}

#[test]
fn what_is_reported_is_what_each_case_expects() {
    let update = std::env::var_os("UPDATE_CASES").is_some();
    let mut failures = String::new();
    for case in cases() {
        let read = |name: &str| provision::fs::read_to_string(&case.join(name)).unwrap_or_default();
        let sets: Vec<String> = read("set.txt").lines().map(str::to_owned).collect();
        let (inventory, found) = load(&case, &case, &sets);
        assert_eq!(inventory.is_none(), found.contains("error["), "{case}");
        let expected = read("expected.txt");
        if update {
            provision::fs::write_atomic(&case.join("expected.txt"), found.as_bytes(), 0o644).unwrap();
        } else if found != expected {
            let diff = similar::TextDiff::from_lines(&expected, &found);
            let diff = diff.unified_diff().header("expected", "found").to_string();
            writeln!(failures, "{case}\n{diff}").unwrap();
        }
    }
    assert!(failures.is_empty(), "\n{failures}");
}

fn loads_clean(folder: &str) -> Inventory {
    let path = Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let (inventory, found) = load(&path, &path, &[]);
    assert_eq!(found, "");
    inventory.unwrap()
}

#[test]
fn the_demo_inventory_loads_without_a_word() {
    let inventory = loads_clean("inventories/demo");
    assert_eq!(inventory.hosts.len(), 8);
    for host in inventory.hosts.values() {
        let address = host.ssh.address.as_ref().unwrap();
        let interfaces = host.interfaces.values();
        let network = interfaces.filter(|i| i.address.is_some_and(|a| a.to_string() == address.value));
        let network = network.filter_map(|i| inventory.network_of(i)).next().unwrap().1;
        assert_eq!(Some(&network.site), host.site.as_ref(), "{}", host.name);
        assert!(network.gateway.is_some(), "{}", host.name);
    }
}

/// Loads an inventory of one file.
fn of_text(text: &str, sets: &[&str]) -> (Option<Inventory>, String) {
    let guard = tempfile::tempdir().unwrap();
    let folder = Utf8Path::from_path(guard.path()).unwrap();
    provision::fs::write_atomic(&folder.join("a.yaml"), text.as_bytes(), 0o644).unwrap();
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    load(folder, folder, &sets)
}

#[test]
fn a_path_that_is_no_inventory_is_refused() {
    let guard = tempfile::tempdir().unwrap();
    let root = Utf8Path::from_path(guard.path()).unwrap();
    let write = |name: &str, bytes: &[u8]| provision::fs::write_atomic(&root.join(name), bytes, 0o644).unwrap();
    let found = |name: &str| load(root, &root.join(name), &[]).1;
    insta::assert_snapshot!(found("none"), @r"
    error[no-inventory]: there is no inventory at none
      help: name the folder that holds its YAML files
    ");
    write("hosts.ini", b"[all]\n");
    insta::assert_snapshot!(found("hosts.ini"), @"error[no-inventory]: hosts.ini is no inventory: neither a folder nor a YAML file");
    write("one.yaml", b"hosts: {h: {ssh: {address: 10.0.0.1}}}\n");
    let (inventory, problems) = load(root, &root.join("one.yaml"), &[]);
    assert_eq!((problems.as_str(), inventory.unwrap().folder), ("", root.to_owned()));
    provision::fs::create_folder(&root.join("loop")).unwrap();
    std::os::unix::fs::symlink("..", root.join("loop/up")).unwrap();
    assert!(found("loop").starts_with("error[too-deep]: the folders of the inventory are nested more than 16 deep"));
    std::os::unix::fs::symlink("nowhere", root.join("dangling.yaml")).unwrap();
    assert!(found("dangling.yaml").starts_with("error[no-inventory]: there is no inventory at"));
}

#[test]
fn a_huge_file_is_refused_before_it_is_read() {
    let guard = tempfile::tempdir().unwrap();
    let root = Utf8Path::from_path(guard.path()).unwrap();
    let nonsense: Vec<u8> = (0..50_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    provision::fs::write_atomic(&root.join("a.yaml"), &nonsense, 0o644).unwrap();
    insta::assert_snapshot!(load(root, root, &[]).1, @r"
    error[unreadable]: cannot read a.yaml: larger than 33554432 bytes
      help: split it into several files
    ");
}

#[test]
fn nonsense_of_any_sort_is_an_error_and_never_a_panic() {
    let mut state = 42_u64;
    let mut random = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as usize
    };
    let pieces = [
        "hosts", ":", " ", "\n", "  ", "- ", "[", "]", "{", "}", "&a ", "*a", "<<", "!!int ", "'", "\"", "|", "\t",
        "é", "#", "0", "~", ",", "?", "%", "---\n",
    ];
    for round in 0..20_000 {
        let length = random() % 40;
        let text: String = (0..length).map(|_| pieces[random() % pieces.len()]).collect();
        let mut diags = Diagnostics::default();
        let node =
            provision::load::yaml::parse(&mut Sources::default(), Utf8Path::new("a"), text.as_bytes(), &mut diags);
        assert!(node.is_some() || diags.has_errors(), "{text:?}");
        if round % 200 == 0 {
            let (inventory, problems) = of_text(&text, &[]);
            assert_eq!(inventory.is_none(), problems.contains("error["), "{text:?}");
        }
    }
}

const FLEET: &str = "
sites: {par1: {country: FR, rooms: {r1: {racks: [a01, a02]}}, vars: {ntp: par1, level: site}}, ren1: {country: FR}}
zones: {admin: {nature: administration}, control: {nature: control}}
networks:
  par1-admin: {site: par1, zone: admin, cidr: 10.10.0.0/24, gateway: 10.10.0.1, vlan: 110, mtu: 9000}
  ren1-admin: {site: ren1, zone: admin, cidr: 10.11.0.0/24}
  par1-control: {site: par1, zone: control, cidr: 10.20.0.0/24}
defaults:
  ssh: {user: provision, host_ca: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDy/Em7vYzDCYqMyJHxopsDDzuoECp3uua/kdtttfbql ca}
  vars: {ntp: default, level: defaults, only_default: 1, deep: {a: 1, b: 2}}
planes:
  compute: {bastion: bastion, vars: {level: plane}, ssh: {port: 2222, known_hosts: keys/known}}
  control: {}
groups:
  first: {match: role=hypervisor, vars: {level: first, deep: {c: 3}}}
  second: {match: first & site=par1, hosts: [ctl-1], vars: {level: second}}
hosts:
  bastion: {site: par1, plane: compute, roles: bastion, ssh: {address: 10.10.0.2, port: 22}, interfaces: {eno1: {network: par1-admin, address: 10.10.0.2}}}
  hv-par1-1:
    site: par1
    room: r1
    rack: a01
    plane: compute
    roles: [hypervisor]
    ssh: {address: 10.10.0.11, host_key: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDy/Em7vYzDCYqMyJHxopsDDzuoECp3uua/kdtttfbql}
    interfaces:
      eno1: {network: par1-admin, address: 10.10.0.11, mac: \"52:54:00:00:00:0A\"}
      eno2: {}
    vars: {level: host, token: {secret: {env: TOKEN}}}
  hv-par1-2: {site: par1, room: r1, rack: a02, plane: compute, roles: [hypervisor], ssh: {address: 10.10.0.12, via: hv-par1-1}}
  hv-ren1-1: {site: ren1, plane: compute, roles: [hypervisor, storage], ssh: {address: 10.11.0.11, via: direct, user: root}, interfaces: {eno1: {network: ren1-admin, address: 10.11.0.11}}}
  ctl-1: {plane: control, roles: etcd, ssh: {connection: local}, provided_by: \"hv-par1-1/libvirt.domain[ctl-1]\", interfaces: {eth0: {network: par1-control, address: 10.20.0.2}}}
";

fn fleet(sets: &[&str]) -> Inventory {
    let (inventory, problems) = of_text(FLEET, sets);
    assert_eq!(problems, "");
    inventory.unwrap()
}

#[test]
fn a_variable_comes_from_the_closest_layer_and_knows_what_it_won_over() {
    let guard = tempfile::tempdir().unwrap();
    let folder = Utf8Path::from_path(guard.path()).unwrap();
    provision::fs::write_atomic(&folder.join("a.yaml"), FLEET.as_bytes(), 0o644).unwrap();
    let mut sources = Sources::default();
    let mut diags = Diagnostics::default();
    let inventory = load_on(date(2026, 6, 1), folder, &["ntp=set".to_owned()], &mut sources, &mut diags).unwrap();
    let mut shown = String::new();
    for (name, var) in inventory.vars(inventory.host("hv-par1-1").unwrap()) {
        let place = |origin: &provision::model::vars::Origin| {
            let at = sources.locate(origin.span);
            format!("{} {}:{}:{}", origin.layer, at.file.file_name().unwrap(), at.line, at.column)
        };
        let overrode: Vec<String> = var.overrode.iter().map(place).collect();
        writeln!(shown, "{name} = {} from {} over [{}]", var.value, place(&var.origin), overrode.join(", ")).unwrap();
    }
    insta::assert_snapshot!(shown, @r#"
    deep = {"c":3} from group first a.yaml:15:56 over [defaults a.yaml:10:58]
    level = "host" from host a.yaml:29:12 over [group second a.yaml:16:61, group first a.yaml:15:42, plane compute a.yaml:12:38, site par1 a.yaml:2:81, defaults a.yaml:10:24]
    ntp = "set" from --set --set ntp:1:1 over [site par1 a.yaml:2:70, defaults a.yaml:10:10]
    only_default = 1 from defaults a.yaml:10:41 over []
    token = {"secret":{"env":"TOKEN"}} from host a.yaml:29:25 over []
    "#);
}

#[test]
fn the_way_to_a_host_follows_its_own_words_then_its_plane_then_the_defaults() {
    let inventory = fleet(&[]);
    let host = |name: &str| inventory.host(name).unwrap();
    let hops = |name: &str| inventory.hops(host(name)).iter().map(|hop| hop.name.as_str()).collect::<Vec<_>>();
    assert_eq!(hops("hv-par1-2"), ["bastion", "hv-par1-1"]);
    assert_eq!(hops("bastion"), [""; 0]);
    assert_eq!(hops("hv-ren1-1"), [""; 0]);
    assert_eq!(hops("ctl-1"), [""; 0]);
    let ssh = inventory.ssh(host("hv-par1-1")).unwrap();
    assert_eq!((ssh.port, ssh.user.as_deref()), (2222, Some("provision")));
    assert_eq!(ssh.host_keys.len(), 2);
    assert!(ssh.host_keys[1].starts_with("@cert-authority ssh-ed25519 AAAA"));
    assert_eq!(ssh.known_hosts, Some(inventory.folder.join("keys/known")));
    assert_eq!(inventory.ssh(host("bastion")).unwrap().port, 22);
    assert_eq!(inventory.ssh(host("hv-ren1-1")).unwrap().user.as_deref(), Some("root"));
    assert_eq!(inventory.ssh(host("ctl-1")), None);
}

#[test]
fn other_programs_see_a_shape_that_stays() {
    use provision::model::inventory::ViewVars;
    let inventory = fleet(&[]);
    let host = inventory.host("hv-par1-1").unwrap();
    insta::assert_json_snapshot!(inventory.view_of([host], ViewVars::Shown));
    insta::assert_json_snapshot!("context", inventory.context(host));
    insta::assert_json_snapshot!("lookup", inventory.lookup(host));
    assert_eq!(inventory.view(ViewVars::Hidden).hosts.len(), 5);
}

fn selected(inventory: &Inventory, text: &str) -> String {
    match Selector::parse(text).and_then(|selector| inventory.select(&selector)) {
        Ok(hosts) => hosts.iter().map(|host| host.name.as_str()).collect::<Vec<_>>().join(" "),
        Err(error) => format!("{error}; {}", error.help.clone().unwrap_or_default()),
    }
}

#[test]
fn selectors_mean_the_same_everywhere() {
    let inventory = fleet(&[]);
    let mut shown = String::new();
    for text in [
        "all",
        "hv-par1-1",
        "hv-*",
        "role=hypervisor & site=par1 & !hv-par1-2",
        "role=etcd | bastion",
        "!(role=hypervisor | bastion)",
        "role=hypervisor & site=ren1 | role=etcd & plane=control",
        "first",
        "group=second",
        "zone=admin",
        "zone=a*",
        "network=par1-*",
        "rack=a0[12]",
        "room=r1 && name=*-2",
        "!!all",
        "site=par2",
        "first & role=etcd",
        "hypervisor",
        "role = storage",
        "role==storage",
        "rolé=x",
        "hv-par1-1,hv-par1-2",
        "((((all))))",
        "(",
        "a b",
        "all &",
        "&",
        "role=*xyz*",
    ] {
        writeln!(shown, "{text:58} → {}", selected(&inventory, text).trim_end()).unwrap();
    }
    insta::assert_snapshot!(shown, @r#"
    all                                                        → bastion hv-par1-1 hv-par1-2 hv-ren1-1 ctl-1
    hv-par1-1                                                  → hv-par1-1
    hv-*                                                       → hv-par1-1 hv-par1-2 hv-ren1-1
    role=hypervisor & site=par1 & !hv-par1-2                   → hv-par1-1
    role=etcd | bastion                                        → bastion ctl-1
    !(role=hypervisor | bastion)                               → ctl-1
    role=hypervisor & site=ren1 | role=etcd & plane=control    → hv-ren1-1 ctl-1
    first                                                      → hv-par1-1 hv-par1-2 hv-ren1-1
    group=second                                               → hv-par1-1 hv-par1-2 ctl-1
    zone=admin                                                 → bastion hv-par1-1 hv-ren1-1
    zone=a*                                                    → bastion hv-par1-1 hv-ren1-1
    network=par1-*                                             → bastion hv-par1-1 ctl-1
    rack=a0[12]                                                → hv-par1-1 hv-par1-2
    room=r1 && name=*-2                                        → hv-par1-2
    !!all                                                      → bastion hv-par1-1 hv-par1-2 hv-ren1-1 ctl-1
    site=par2                                                  → no site is called `par2` (at character 1 of the selector); did you mean `par1`?
    first & role=etcd                                          → the selector `first & role=etcd` matches no host (at character 1 of the selector);
    hypervisor                                                 → no host or group is called `hypervisor` (at character 1 of the selector); did you mean `role=hypervisor`?
    role = storage                                             → hv-ren1-1
    role==storage                                              → hv-ren1-1
    rolé=x                                                     → hosts have no `rolé` to select by (at character 1 of the selector); did you mean `role`?
    hv-par1-1,hv-par1-2                                        → a `,` means nothing in a selector (at character 10 of the selector); write `|` for "or"
    ((((all))))                                                → bastion hv-par1-1 hv-par1-2 hv-ren1-1 ctl-1
    (                                                          → a term is missing at the end (at character 2 of the selector);
    a b                                                        → expected `&` or `|` before another term (at character 3 of the selector); write `&` for "and", `|` for "or"
    all &                                                      → a term is missing at the end (at character 6 of the selector);
    &                                                          → expected a name or `KEY=VALUE`, found `&` (at character 1 of the selector);
    role=*xyz*                                                 → no role is called `*xyz*` (at character 1 of the selector);
    "#);
    assert!(Selector::parse(&"(".repeat(100_000)).is_err());
    assert!(Selector::parse(&"!".repeat(60_000)).is_err());
}

/// A selector as a tree of its own, with its meaning written in the plainest way.
#[derive(Clone, Debug)]
enum Meaning {
    All,
    Name(&'static str),
    Role(&'static str),
    Not(Box<Meaning>),
    And(Box<Meaning>, Box<Meaning>),
    Or(Box<Meaning>, Box<Meaning>),
}

impl Meaning {
    fn text(&self) -> String {
        match self {
            Self::All => "all".to_owned(),
            Self::Name(name) => (*name).to_owned(),
            Self::Role(role) => format!("role={role}"),
            Self::Not(inner) => format!("!{}", inner.text()),
            Self::And(a, b) => format!("({} & {})", a.text(), b.text()),
            Self::Or(a, b) => format!("({} | {})", a.text(), b.text()),
        }
    }

    fn holds(&self, host: &Host) -> bool {
        match self {
            Self::All => true,
            Self::Name(name) => host.name.as_str() == *name,
            Self::Role(role) => host.has_role(role),
            Self::Not(inner) => !inner.holds(host),
            Self::And(a, b) => a.holds(host) && b.holds(host),
            Self::Or(a, b) => a.holds(host) || b.holds(host),
        }
    }
}

fn meaning() -> impl Strategy<Value = Meaning> {
    let leaf = prop_oneof![
        Just(Meaning::All),
        prop::sample::select(vec!["bastion", "hv-par1-1", "hv-ren1-1", "ctl-1"]).prop_map(Meaning::Name),
        prop::sample::select(vec!["hypervisor", "etcd", "storage", "bastion"]).prop_map(Meaning::Role),
    ];
    leaf.prop_recursive(5, 30, 2, |inner| {
        let pair = (inner.clone(), inner.clone());
        prop_oneof![
            inner.prop_map(|inner| Meaning::Not(Box::new(inner))),
            pair.clone().prop_map(|(a, b)| Meaning::And(Box::new(a), Box::new(b))),
            pair.prop_map(|(a, b)| Meaning::Or(Box::new(a), Box::new(b))),
        ]
    })
}

thread_local! {
    static FLEET_ONCE: Inventory = fleet(&[]);
}

proptest! {
    #[test]
    fn a_selector_chooses_what_its_words_say(meaning in meaning()) {
        FLEET_ONCE.with(|inventory| {
            let selector = Selector::parse(&meaning.text()).unwrap();
            let expected: Vec<_> = inventory.hosts.values().filter(|host| meaning.holds(host)).map(|h| &h.name).collect();
            match inventory.select(&selector) {
                Ok(hosts) => prop_assert_eq!(hosts.iter().map(|host| &host.name).collect::<Vec<_>>(), expected),
                Err(error) => prop_assert!(expected.is_empty() && error.code == "empty-selector", "{}", error),
            }
            Ok(())
        })?;
    }

    #[test]
    fn any_text_as_a_selector_is_an_answer_or_an_error_with_a_place(text in "[-a-z0-9*?\\[\\]()&|!= é,.]{0,30}") {
        FLEET_ONCE.with(|inventory| {
            if let Err(error) = Selector::parse(&text).and_then(|selector| inventory.select(&selector).map(|_| ())) {
                prop_assert!(error.start <= error.end && error.end <= text.len(), "{error:?}");
                prop_assert!(text.is_char_boundary(error.start) && text.is_char_boundary(error.end), "{error:?}");
            }
            Ok(())
        })?;
    }
}

#[test]
fn the_schema_of_an_inventory_documents_every_field() {
    let schema = schemars::schema_for!(provision::model::inventory::InventoryFile).to_value();
    let mut undocumented = Vec::new();
    let definitions = schema["$defs"].as_object().unwrap().iter().map(|(name, definition)| (name.as_str(), definition));
    for (name, definition) in definitions.chain([("InventoryFile", &schema)]) {
        for (field, property) in definition["properties"].as_object().into_iter().flatten() {
            if property.get("description").is_none() {
                undocumented.push(format!("{name}.{field}"));
            }
        }
    }
    assert_eq!(undocumented, [""; 0]);
}

#[test]
fn the_inventory_of_three_sites_loads_without_a_word() {
    let inventory = loads_clean("inventories/france");
    assert!((190..=250).contains(&inventory.hosts.len()), "{}", inventory.hosts.len());
    for host in inventory.hosts.values() {
        let via = inventory.via(host);
        assert_eq!(via.is_none(), host.has_role("bastion"), "{}", host.name);
        assert!(via.is_none_or(|via| via.plane == host.plane && via.site == host.site), "{}", host.name);
    }
}
