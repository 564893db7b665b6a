//! The public API as a list in the tree, so that a change of it shows in a diff.
//!
//! It is read from the sources: every item that `lib.rs` makes reachable, under its public path. Moving a
//! file or formatting it changes nothing. `JOBQ_PUBLIC_API=write cargo test --test it public_api` writes the
//! list anew.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use quote::ToTokens;
use syn::{Attribute, Fields, ImplItem, Item, TraitItem, UseTree, Visibility};

use crate::support::tokens::{mentions, text, without_docs};

#[test]
fn the_public_api_is_as_listed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let list = root.join("tests/data/public_api.txt");
    let now = listing(&root.join("src"));
    if std::env::var_os("JOBQ_PUBLIC_API").is_some_and(|what| what == "write") {
        std::fs::write(&list, now).unwrap();
        return;
    }
    let then = std::fs::read_to_string(&list).unwrap_or_default();
    let (before, after): (BTreeSet<&str>, BTreeSet<&str>) =
        (then.lines().collect(), now.lines().collect());
    let gone = before.difference(&after).map(|line| format!("- {line}\n"));
    let new = after.difference(&before).map(|line| format!("+ {line}\n"));
    let diff: String = gone.chain(new).collect();
    assert!(
        then == now,
        "the public API has changed; where that is meant, run\n\
         JOBQ_PUBLIC_API=write cargo test --test it public_api\n{diff}"
    );
}

fn listing(sources: &Path) -> String {
    let mut krate = Crate::default();
    krate.load(sources, "lib", "crate");
    let mut list = List::default();
    krate.list_module("crate", "jobq", &mut list);
    for (module, items) in &krate.modules {
        for item in items {
            match item {
                Item::Impl(block) => krate.list_impl(module, block, &mut list),
                Item::Macro(made) if made.mac.path.is_ident("words") => {
                    krate.list_words(module, made, &mut list);
                }
                _ => {}
            }
        }
    }
    list.lines
        .into_iter()
        .map(|(_, line)| line + "\n")
        .collect()
}

type Lines = BTreeSet<(String, String)>;

#[derive(Default)]
struct List {
    /// Each line behind the path by which it is sorted.
    lines: Lines,
    /// The public path of a module's item.
    public: BTreeMap<(String, String), String>,
}

impl List {
    fn add(&mut self, path: &str, line: impl Into<String>) {
        self.lines.insert((path.to_owned(), line.into()));
    }
}

/// The items of each module, by `crate::…`.
#[derive(Default)]
struct Crate {
    modules: BTreeMap<String, Vec<Item>>,
}

impl Crate {
    fn load(&mut self, folder: &Path, name: &str, module: &str) {
        let flat = folder.join(format!("{name}.rs"));
        let inside = folder.join(name);
        let file = match flat.exists() {
            true => flat,
            false => inside.join("mod.rs"),
        };
        let text = std::fs::read_to_string(&file).unwrap();
        let items = syn::parse_file(&text).unwrap().items;
        let folder = match name {
            "lib" => folder.to_owned(),
            _ => inside,
        };
        self.add(&folder, module, items);
    }

    fn add(&mut self, folder: &Path, module: &str, mut items: Vec<Item>) {
        items.retain(|item| !has(attributes(item), "cfg", "test"));
        for item in &mut items {
            let Item::Mod(inner) = item else { continue };
            let name = inner.ident.to_string();
            let path = format!("{module}::{name}");
            match inner.content.take() {
                Some((_, items)) => self.add(&folder.join(&name), &path, items),
                None => self.load(folder, &name, &path),
            }
        }
        self.modules.insert(module.to_owned(), items);
    }

    /// Where the item lives that `name` means in a module.
    fn find(&self, module: &str, name: &str) -> Option<(String, String)> {
        let items = self.modules.get(module)?;
        for item in items {
            match item {
                Item::Use(used) => {
                    let mut paths = leaves(&used.tree).into_iter();
                    let is_it =
                        |(path, alias): &(Vec<String>, String)| alias == name && path.len() > 1;
                    if let Some((path, _)) = paths.find(is_it) {
                        return self.find_path(module, &path);
                    }
                }
                Item::Mod(_) => {}
                item if ident(item).is_some_and(|ident| ident == name) => {
                    return Some((module.to_owned(), name.to_owned()));
                }
                _ => {}
            }
        }
        None
    }

    fn find_path(&self, module: &str, path: &[String]) -> Option<(String, String)> {
        let (name, through) = path.split_last()?;
        let mut at = module.to_owned();
        for step in through {
            at = match step.as_str() {
                "crate" => "crate".to_owned(),
                "self" => at,
                "super" => at.rsplit_once("::")?.0.to_owned(),
                step => format!("{at}::{step}"),
            };
        }
        self.find(&at, name)
    }

    fn list_module(&self, module: &str, public: &str, list: &mut List) {
        for item in &self.modules[module] {
            let hidden = has(attributes(item), "doc", "hidden");
            match item {
                _ if hidden => {}
                Item::Mod(inner) if is_public(&inner.vis) => {
                    let name = inner.ident.to_string();
                    list.add(
                        &format!("{public}::{name}"),
                        format!("pub mod {public}::{name}"),
                    );
                    self.list_module(
                        &format!("{module}::{name}"),
                        &format!("{public}::{name}"),
                        list,
                    );
                }
                Item::Use(used) if is_public(&used.vis) => {
                    for (path, alias) in leaves(&used.tree) {
                        match self.find_path(module, &path) {
                            Some(found) => {
                                self.list_item(found, &format!("{public}::{alias}"), list)
                            }
                            None => {
                                list.add(
                                    &format!("{public}::{alias}"),
                                    format!("pub use {public}::{alias}"),
                                );
                            }
                        }
                    }
                }
                item => {
                    if let Some(name) = ident(item).filter(|_| is_public_item(item)) {
                        let found = (module.to_owned(), name.clone());
                        self.list_item(found, &format!("{public}::{name}"), list);
                    }
                }
            }
        }
    }

    fn list_item(&self, (module, name): (String, String), public: &str, list: &mut List) {
        let items = &self.modules[&module];
        let item = items
            .iter()
            .find(|item| ident(item).is_some_and(|ident| ident == name));
        match item {
            Some(item) => item_lines(item, public, list),
            None => panic!("{public} is not in {module}"),
        }
        list.public.insert((module, name), public.to_owned());
    }

    /// What `words!` adds to an enum.
    fn list_words(&self, module: &str, made: &syn::ItemMacro, list: &mut List) {
        let tokens: Vec<_> = made.mac.tokens.clone().into_iter().collect();
        let name = tokens[0].to_string();
        let of = self.find(module, &name);
        let Some(public) = of.and_then(|of| list.public.get(&of).cloned()) else {
            return;
        };
        let words = text(tokens[tokens.len() - 1].clone().into());
        let count = words.matches(" = ").count();
        list.add(&public, format!("impl Display for {public}"));
        list.add(
            &public,
            format!("impl FromStr for {public}, type Err = Error"),
        );
        let line = format!("pub const {public}::ALL: [{name}; {count}]");
        list.add(&format!("{public}::ALL"), line);
        let line = format!("pub const fn {public}::as_str(self) -> &'static str");
        list.add(&format!("{public}::as_str"), line);
    }

    fn list_impl(&self, module: &str, block: &syn::ItemImpl, list: &mut List) {
        let generics = text(block.generics.to_token_stream());
        let of = last_segment(&block.self_ty).and_then(|name| self.find(module, &name));
        let public = of.as_ref().and_then(|of| list.public.get(of).cloned());
        let Some((made, _)) = &block.trait_ else {
            if let Some(public) = public {
                own_lines(block, &public, &generics, list);
            }
            return;
        };
        let steps = made.segments.iter().map(|step| step.ident.to_string());
        let made_of = self.find_path(module, &steps.collect::<Vec<_>>());
        let arguments = made.segments.last().map(|last| arguments(&last.arguments));
        let arguments = arguments.unwrap_or_default().into_iter();
        let mut named = arguments
            .filter_map(|ty| self.find(module, &last_segment(ty)?))
            .chain(of.clone())
            .chain(made_of.clone());
        // Of others' types only what a public trait of this crate does is part of it.
        let is_foreign = of.is_none() && made_of.is_none();
        if is_foreign || named.any(|item| !list.public.contains_key(&item)) {
            return;
        }
        let whole = text(block.self_ty.to_token_stream());
        let of = public.map_or(whole.clone(), |public| {
            let arguments = whole.find('<').map_or("", |at| &whole[at..]);
            format!("{public}{arguments}")
        });
        let types = block.items.iter().filter_map(|item| match item {
            ImplItem::Type(ty) => {
                let what = text(ty.ty.to_token_stream());
                Some(format!(", type {} = {what}", ty.ident))
            }
            _ => None,
        });
        let (made, types) = (text(made.to_token_stream()), types.collect::<String>());
        list.add(&of, format!("impl{generics} {made} for {of}{types}"));
    }
}

/// The lines of a type's own functions and constants.
fn own_lines(block: &syn::ItemImpl, public: &str, generics: &str, list: &mut List) {
    for item in &block.items {
        match item {
            ImplItem::Fn(function)
                if is_public(&function.vis) && !has(&function.attrs, "doc", "hidden") =>
            {
                let line = signature(&function.sig, &format!("{public}{generics}::"));
                let path = format!("{public}::{}", function.sig.ident);
                list.add(&path, format!("pub {line}"));
            }
            ImplItem::Const(constant) if is_public(&constant.vis) => {
                let ty = text(constant.ty.to_token_stream());
                let path = format!("{public}::{}", constant.ident);
                list.add(&path, format!("pub const {path}: {ty}"));
            }
            _ => {}
        }
    }
}

/// The lines of one item under its public path.
fn item_lines(item: &Item, public: &str, list: &mut List) {
    let (before, name) = public.rsplit_once("::").unwrap();
    let grows = match has(attributes(item), "non_exhaustive", "") {
        true => "#[non_exhaustive] ",
        false => "",
    };
    let derived = derives(attributes(item)).join(", ");
    if !derived.is_empty() {
        list.add(public, format!("{public} derives {derived}"));
    }
    match item {
        Item::Struct(item) => {
            let generics = text(item.generics.to_token_stream());
            list.add(public, format!("{grows}pub struct {public}{generics}"));
            for (at, field) in item.fields.iter().enumerate() {
                if is_public(&field.vis) {
                    let ty = text(field.ty.to_token_stream());
                    let name = field.ident.as_ref().map(ToString::to_string);
                    let name = name.unwrap_or_else(|| at.to_string());
                    list.add(
                        &format!("{public}::{name}"),
                        format!("pub {public}::{name}: {ty}"),
                    );
                }
            }
        }
        Item::Enum(item) => {
            let generics = text(item.generics.to_token_stream());
            list.add(public, format!("{grows}pub enum {public}{generics}"));
            for variant in &item.variants {
                let fields = match &variant.fields {
                    Fields::Unit => String::new(),
                    Fields::Named(fields) => text(without_docs(fields.to_token_stream())),
                    Fields::Unnamed(fields) => text(without_docs(fields.to_token_stream())),
                };
                let path = format!("{public}::{}", variant.ident);
                list.add(&path, format!("pub {path}{fields}"));
            }
        }
        Item::Trait(item) => trait_lines(item, public, list),
        Item::Fn(item) => {
            let mut sig = item.sig.clone();
            sig.ident = syn::Ident::new(name, sig.ident.span());
            list.add(
                public,
                format!("pub {}", signature(&sig, &format!("{before}::"))),
            );
        }
        Item::Const(item) => {
            let ty = text(item.ty.to_token_stream());
            list.add(public, format!("pub const {public}: {ty}"));
        }
        Item::Type(item) => {
            let generics = text(item.generics.to_token_stream());
            let ty = text(item.ty.to_token_stream());
            list.add(public, format!("pub type {public}{generics} = {ty}"));
        }
        other => {
            list.add(
                public,
                format!("pub {public}: {}", text(other.to_token_stream())),
            );
        }
    }
}

fn trait_lines(item: &syn::ItemTrait, public: &str, list: &mut List) {
    let generics = text(item.generics.to_token_stream());
    let above = text(item.supertraits.to_token_stream());
    list.add(public, format!("pub trait {public}{generics}: {above}"));
    for item in &item.items {
        let line = match item {
            TraitItem::Fn(function) => {
                let given = function.default.as_ref().map_or("", |_| " { … }");
                let line = signature(&function.sig, &format!("{public}::"));
                format!("{line}{given}")
            }
            TraitItem::Type(ty) => {
                format!(
                    "type {public}::{}: {}",
                    ty.ident,
                    text(ty.bounds.to_token_stream())
                )
            }
            TraitItem::Const(constant) => {
                format!(
                    "const {public}::{}: {}",
                    constant.ident,
                    text(constant.ty.to_token_stream())
                )
            }
            other => text(other.to_token_stream()),
        };
        list.add(&format!("{public}::"), format!("pub {line}"));
    }
}

/// `fn jobq::Queue::open(path: impl AsRef<Path>) -> Result<Queue>`.
fn signature(sig: &syn::Signature, before: &str) -> String {
    let whole = text(sig.to_token_stream());
    // Whether an argument is changed inside is nobody else's business.
    let whole = whole.replace("(mut ", "(").replace(", mut ", ", ");
    let name = sig.ident.to_string();
    whole.replacen(&format!("fn {name}"), &format!("fn {before}{name}"), 1)
}

/// The paths that a `use` names, and what each is called by it.
fn leaves(tree: &UseTree) -> Vec<(Vec<String>, String)> {
    match tree {
        UseTree::Path(path) => leaves(&path.tree)
            .into_iter()
            .map(|(mut steps, alias)| {
                steps.insert(0, path.ident.to_string());
                (steps, alias)
            })
            .collect(),
        UseTree::Name(name) => vec![(vec![name.ident.to_string()], name.ident.to_string())],
        UseTree::Rename(name) => vec![(vec![name.ident.to_string()], name.rename.to_string())],
        UseTree::Group(group) => group.items.iter().flat_map(leaves).collect(),
        _ => Vec::new(),
    }
}

fn last_segment(ty: &syn::Type) -> Option<String> {
    match ty {
        syn::Type::Path(path) => Some(path.path.segments.last()?.ident.to_string()),
        _ => None,
    }
}

/// The types that a path's last step is given.
fn arguments(of: &syn::PathArguments) -> Vec<&syn::Type> {
    let syn::PathArguments::AngleBracketed(given) = of else {
        return Vec::new();
    };
    let types = given.args.iter().filter_map(|argument| match argument {
        syn::GenericArgument::Type(ty) => Some(ty),
        _ => None,
    });
    types.collect()
}

fn has(attributes: &[Attribute], name: &str, inside: &str) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident(name)
            && (inside.is_empty() || mentions(&attribute.to_token_stream(), inside))
    })
}

fn derives(attributes: &[Attribute]) -> Vec<String> {
    let derived = attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("derive"));
    let lists = derived.filter_map(|attribute| attribute.meta.require_list().ok());
    lists
        .flat_map(|list| {
            let names = text(list.tokens.clone());
            names
                .split(", ")
                .map(|name| name.trim_end_matches(',').to_owned())
                .collect::<Vec<_>>()
        })
        .collect()
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

/// One field of the items that have it.
macro_rules! of_item {
    ($item:expr, $($kind:ident)*, $found:ident => $value:expr, $none:expr) => {
        match $item {
            $(Item::$kind($found) => $value,)*
            _ => $none,
        }
    };
}

fn attributes(item: &Item) -> &[Attribute] {
    of_item!(item, Struct Enum Trait Fn Const Type Use Mod Impl Macro, it => &it.attrs, &[])
}

fn is_public_item(item: &Item) -> bool {
    of_item!(item, Struct Enum Trait Fn Const Type, it => is_public(&it.vis), false)
}

fn ident(item: &Item) -> Option<String> {
    if let Item::Fn(function) = item {
        return Some(function.sig.ident.to_string());
    }
    of_item!(item, Struct Enum Trait Const Type, it => Some(it.ident.to_string()), None)
}
