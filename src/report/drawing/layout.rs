//! Where everything of a drawing stands: ranks by the longest way, clusters as bands beside each other.
//!
//! "Along" is the way the drawing leads, "across" the other one. An edge that passes over ranks has a place of its own
//! in each of them, so that it bends around what is there.

#![expect(clippy::indexing_slicing, reason = "nodes, items, ranks and bands are numbered here, each by its index")]

use std::collections::HashMap;

use super::{Direction, Drawing};

/// A point of the picture.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Point {
    pub x: f64,
    pub y: f64,
}

/// A rectangle of the picture.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rect {
    pub x: f64,
    pub y: f64,
    pub w: f64,
    pub h: f64,
}

/// The way of an edge.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Way {
    /// Curves and straight lines in turn, a curve first.
    Curved(Vec<Point>),
    /// Straight lines, each at a right angle to the one before.
    Square(Vec<Point>),
}

impl Way {
    /// Returns the points that it passes.
    pub(super) fn points(&self) -> &[Point] {
        match self {
            Way::Curved(points) | Way::Square(points) => points,
        }
    }
}

/// Where everything stands.
#[derive(Clone, Debug, Default)]
pub(super) struct Layout {
    /// The size of the picture, without title and margins.
    pub size: Point,
    /// The nodes, in the drawing's order.
    pub nodes: Vec<Rect>,
    /// The boxes of the clusters, in their order.
    pub clusters: Vec<Rect>,
    /// The way of each edge, in the drawing's order.
    pub edges: Vec<Way>,
}

/// Between neighbours across.
const GAP: f64 = 16.0;
/// Between the clusters' boxes.
const BOX_GAP: f64 = 22.0;
/// Between a cluster's box and what is in it.
const PAD: f64 = 16.0;
/// For the name of a cluster.
const HEADER: f64 = 26.0;
/// How wide an edge is that passes over a rank.
const LANE: f64 = 12.0;
/// Between the columns of one rank.
const COLUMN_GAP: f64 = 34.0;
/// Between the ranks, where the drawing leads to the right.
const RANK_GAP: f64 = 92.0;
/// How many nodes of one cluster stand in one column before there are several.
const COLUMN: usize = 8;

/// A node, or the place where an edge passes over a rank.
struct Item {
    rank: usize,
    band: usize,
    /// Its extent across.
    size: f64,
    node: Option<usize>,
    before: Vec<usize>,
    after: Vec<usize>,
    /// The middle across, relative to its band.
    center: f64,
    column: usize,
}

/// The items of one band at one rank, in order across.
type Cells = Vec<Vec<Vec<usize>>>;

struct Plan<'a> {
    drawing: &'a Drawing,
    /// The extent along and across of all nodes.
    node: (f64, f64),
    items: Vec<Item>,
    cells: Cells,
    ranks: usize,
    bands: usize,
    /// The columns of each rank.
    columns: Vec<usize>,
    /// The items on the way of each edge.
    ways: Vec<Vec<usize>>,
}

/// Lays a drawing out whose nodes are all of one size.
pub(super) fn layout(drawing: &Drawing, width: f64, height: f64) -> Layout {
    if drawing.nodes.is_empty() {
        return Layout { edges: vec![Way::Curved(Vec::new()); drawing.edges.len()], ..Layout::default() };
    }
    let node = match drawing.direction {
        Direction::Right => (width, height),
        Direction::Down => (height, width),
    };
    let mut plan = Plan::new(drawing, node);
    plan.sort();
    plan.divide();
    plan.place();
    plan.finish()
}

impl<'a> Plan<'a> {
    fn new(drawing: &'a Drawing, node: (f64, f64)) -> Self {
        let ids: HashMap<&str, usize> = drawing.nodes.iter().enumerate().map(|(at, n)| (n.id.as_str(), at)).collect();
        let ends: Vec<Option<(usize, usize)>> = drawing
            .edges
            .iter()
            .map(|edge| Some((*ids.get(edge.from.as_str())?, *ids.get(edge.to.as_str())?)))
            .collect();
        let rank_of = ranks(drawing.nodes.len(), &ends);
        let clusters = drawing.clusters();
        let cluster_number: HashMap<&str, usize> = clusters.iter().enumerate().map(|(at, name)| (*name, at)).collect();
        // Band 0 is for what is in no cluster.
        let band_of = |node: usize| {
            let cluster = drawing.nodes[node].cluster.as_deref();
            cluster.and_then(|name| cluster_number.get(name)).map_or(0, |at| at + 1)
        };
        let mut items: Vec<Item> = (0..drawing.nodes.len())
            .map(|at| Item {
                rank: rank_of[at],
                band: band_of(at),
                size: node.1,
                node: Some(at),
                before: Vec::new(),
                after: Vec::new(),
                center: 0.0,
                column: 0,
            })
            .collect();
        let mut ways = Vec::new();
        for end in &ends {
            let Some((from, to)) = *end else {
                ways.push(Vec::new());
                continue;
            };
            let band = if items[from].band == items[to].band { items[from].band } else { 0 };
            let mut way = vec![from];
            for rank in items[from].rank + 1..items[to].rank {
                items.push(Item {
                    rank,
                    band,
                    size: LANE,
                    node: None,
                    before: Vec::new(),
                    after: Vec::new(),
                    center: 0.0,
                    column: 0,
                });
                way.push(items.len() - 1);
            }
            way.push(to);
            for pair in way.windows(2) {
                items[pair[0]].after.push(pair[1]);
                items[pair[1]].before.push(pair[0]);
            }
            ways.push(way);
        }
        let ranks = rank_of.iter().max().map_or(0, |last| last + 1);
        let bands = clusters.len() + 1;
        let mut cells: Cells = vec![vec![Vec::new(); ranks]; bands];
        for (at, item) in items.iter().enumerate() {
            cells[item.band][item.rank].push(at);
        }
        Self { drawing, node, items, cells, ranks, bands, columns: vec![1; ranks], ways }
    }

    /// Sorts each cell so that few edges cross, by the middle of the neighbours.
    fn sort(&mut self) {
        let mut best = (self.crossings(), self.cells.clone());
        for round in 0..12 {
            let places = self.places();
            let mut places = places;
            let order: Vec<usize> =
                if round % 2 == 0 { (0..self.ranks).collect() } else { (0..self.ranks).rev().collect() };
            for rank in order {
                for band in 0..self.bands {
                    let items = &self.items;
                    let wish = |at: usize| {
                        let near = if round % 2 == 0 { &items[at].before } else { &items[at].after };
                        if near.is_empty() {
                            return places[at];
                        }
                        near.iter().map(|other| places[*other]).sum::<f64>() / near.len() as f64
                    };
                    let mut wishes: Vec<(f64, usize)> =
                        self.cells[band][rank].iter().map(|at| (wish(*at), *at)).collect();
                    wishes.sort_by(|a, b| a.0.total_cmp(&b.0));
                    let sorted: Vec<usize> = wishes.into_iter().map(|(_, at)| at).collect();
                    for (position, at) in sorted.iter().enumerate() {
                        places[*at] = place_in(band, position, sorted.len());
                    }
                    self.cells[band][rank] = sorted;
                }
            }
            let crossings = self.crossings();
            if crossings < best.0 {
                best = (crossings, self.cells.clone());
            }
        }
        self.cells = best.1;
    }

    /// Returns how far across each item is, in bands.
    fn places(&self) -> Vec<f64> {
        let mut places = vec![0.0; self.items.len()];
        for (band, ranks) in self.cells.iter().enumerate() {
            for cell in ranks {
                for (position, at) in cell.iter().enumerate() {
                    places[*at] = place_in(band, position, cell.len());
                }
            }
        }
        places
    }

    fn crossings(&self) -> usize {
        let places = self.places();
        let mut between: Vec<Vec<(f64, f64)>> = vec![Vec::new(); self.ranks];
        for way in &self.ways {
            for pair in way.windows(2) {
                between[self.items[pair[0]].rank].push((places[pair[0]], places[pair[1]]));
            }
        }
        let mut count = 0;
        for edges in &between {
            for (at, a) in edges.iter().enumerate() {
                count += edges[at + 1..].iter().filter(|b| (a.0 - b.0) * (a.1 - b.1) < 0.0).count();
            }
        }
        count
    }

    /// Gives a rank several columns where one would be too long.
    fn divide(&mut self) {
        if !self.drawing.lanes || self.drawing.direction != Direction::Right {
            return;
        }
        for rank in 0..self.ranks {
            let most = (0..self.bands).map(|band| self.cells[band][rank].len()).max().unwrap_or_default();
            let has_passing =
                (0..self.bands).any(|b| self.cells[b][rank].iter().any(|at| self.items[*at].node.is_none()));
            if most <= COLUMN || has_passing {
                continue;
            }
            // As many as make the picture about as high as wide.
            let rows = |columns: usize| -> usize {
                (0..self.bands).map(|band| self.cells[band][rank].len().div_ceil(columns)).sum()
            };
            let fits = |columns: &usize| {
                let width = *columns as f64 * (self.node.0 + COLUMN_GAP) + (self.node.0 + RANK_GAP);
                rows(*columns) as f64 * (self.node.1 + GAP) <= 1.2 * width
            };
            self.columns[rank] = (1..=most).find(fits).unwrap_or(1);
        }
    }

    /// Gives each item its place across in its band.
    fn place(&mut self) {
        for band in 0..self.bands {
            for rank in 0..self.ranks {
                let cell = self.cells[band][rank].clone();
                let columns = self.columns[rank];
                if columns > 1 {
                    let rows = cell.len().div_ceil(columns);
                    for (position, at) in cell.iter().enumerate() {
                        let item = &mut self.items[*at];
                        item.column = position / rows.max(1);
                        let row = (position % rows.max(1)) as f64;
                        item.center = (row - (rows as f64 - 1.0) / 2.0) * (self.node.1 + GAP);
                    }
                } else {
                    let wish = vec![0.0; cell.len()];
                    self.settle(&cell, &wish);
                }
            }
            for round in 0..14 {
                let order: Vec<usize> =
                    if round % 2 == 0 { (0..self.ranks).collect() } else { (0..self.ranks).rev().collect() };
                for rank in order {
                    if self.columns[rank] > 1 {
                        continue;
                    }
                    let cell = self.cells[band][rank].clone();
                    // What stands alone at its rank stands on the middle line, as everything passes through it.
                    let is_alone = cell.len() == 1 && !self.drawing.lanes;
                    let wish = |at: &usize| if is_alone { 0.0 } else { self.wish(*at, round) };
                    let wishes: Vec<f64> = cell.iter().map(wish).collect();
                    self.settle(&cell, &wishes);
                }
            }
        }
    }

    /// Returns where an item wants to be: in the middle of its neighbours in the same band.
    fn wish(&self, at: usize, round: usize) -> f64 {
        let item = &self.items[at];
        let middle = |near: &[usize]| {
            let near: Vec<f64> = near
                .iter()
                .map(|other| &self.items[*other])
                .filter(|o| o.band == item.band)
                .map(|o| o.center)
                .collect();
            (!near.is_empty()).then(|| near.iter().sum::<f64>() / near.len() as f64)
        };
        let (before, after) = (middle(&item.before), middle(&item.after));
        let (first, second) = if round.is_multiple_of(2) { (before, after) } else { (after, before) };
        match (first, second) {
            // In the end, what lies between two things stands between them.
            (Some(first), Some(second)) if round >= 9 => (first + second) / 2.0,
            (Some(first), _) => first,
            (None, Some(second)) if round >= 2 => second,
            _ => item.center,
        }
    }

    /// Puts the items of a cell as near to where they want to be as their order and size allow.
    fn settle(&mut self, cell: &[usize], wishes: &[f64]) {
        // Pool adjacent violators: the least squares under "each at least so far behind the one before".
        let mut blocks: Vec<(f64, f64, usize)> = Vec::new();
        let mut offsets = Vec::with_capacity(cell.len());
        let mut offset = 0.0;
        for (position, at) in cell.iter().enumerate() {
            let item = &self.items[*at];
            if position > 0 {
                let other = &self.items[cell[position - 1]];
                offset += (other.size + item.size) / 2.0 + GAP;
            }
            offsets.push(offset);
            // An edge that passes is worth keeping straight.
            let weight = if item.node.is_none() { 4.0 } else { 1.0 };
            blocks.push((weight, weight * (wishes[position] - offset), 1));
            while let [.., a, b] = blocks.as_slice()
                && a.1 / a.0 > b.1 / b.0
            {
                let merged = (a.0 + b.0, a.1 + b.1, a.2 + b.2);
                blocks.truncate(blocks.len() - 2);
                blocks.push(merged);
            }
        }
        let mut position = 0;
        for (weight, sum, count) in blocks {
            for _ in 0..count {
                self.items[cell[position]].center = sum / weight + offsets[position];
                position += 1;
            }
        }
    }

    /// Puts the bands beside each other and returns the picture.
    fn finish(mut self) -> Layout {
        let right = self.drawing.direction == Direction::Right;
        let lanes = self.drawing.lanes;
        let in_box = |band: usize| band > 0;
        // How much a box needs beyond what is in it, on its near and far side across.
        let (near, far) = (if right { PAD + HEADER - 4.0 } else { PAD }, PAD);
        let mut occupied: Vec<Vec<(f64, f64)>> = vec![Vec::new(); self.ranks];
        let mut extents: Vec<Option<(f64, f64)>> = vec![None; self.bands];
        let mut spans: Vec<(usize, usize)> = vec![(0, 0); self.bands];
        for band in 0..self.bands {
            let filled: Vec<usize> = (0..self.ranks).filter(|rank| !self.cells[band][*rank].is_empty()).collect();
            let (Some(first), Some(last)) = (filled.first(), filled.last()) else { continue };
            let (first, last) = if lanes { (0, self.ranks - 1) } else { (*first, *last) };
            let all = self.cells[band].iter().flatten().map(|at| &self.items[*at]);
            let low = all.clone().map(|item| item.center - item.size / 2.0).fold(f64::INFINITY, f64::min);
            let high = all.map(|item| item.center + item.size / 2.0).fold(f64::NEG_INFINITY, f64::max);
            let (low, high) = if in_box(band) { (low - near, high + far) } else { (low, high) };
            let shift = if band == 0 && !lanes {
                0.0
            } else if lanes {
                // One behind the other, in the order of the clusters.
                let end = occupied[0].iter().map(|(_, high)| *high).fold(f64::NEG_INFINITY, f64::max);
                if end.is_finite() { end + BOX_GAP - low } else { -low }
            } else {
                self.nearest_shift(band, (low, high), (first, last), &occupied)
            };
            for at in self.cells[band].iter().flatten() {
                self.items[*at].center += shift;
            }
            for (rank, occupied) in occupied.iter_mut().enumerate().take(last + 1).skip(first) {
                let cell = self.cells[band][rank].iter().map(|at| &self.items[*at]);
                if in_box(band) || lanes {
                    occupied.push((low + shift, high + shift));
                } else {
                    occupied.extend(cell.map(|item| (item.center - item.size / 2.0, item.center + item.size / 2.0)));
                }
            }
            extents[band] = Some((low + shift, high + shift));
            spans[band] = (first, last);
        }
        self.picture(right, &extents, &spans)
    }

    /// Returns how far a cluster is moved so that it is near its neighbours and over nothing else.
    fn nearest_shift(
        &self,
        band: usize,
        (low, high): (f64, f64),
        (first, last): (usize, usize),
        occupied: &[Vec<(f64, f64)>],
    ) -> f64 {
        let mut near: Vec<f64> = Vec::new();
        for item in self.cells[band].iter().flatten().map(|at| &self.items[*at]) {
            let others = item.before.iter().chain(&item.after).map(|other| &self.items[*other]);
            near.extend(others.filter(|other| other.band < band).map(|other| other.center - item.center));
        }
        let wish = if near.is_empty() { 0.0 } else { near.iter().sum::<f64>() / near.len() as f64 };
        let taken: Vec<(f64, f64)> = occupied[first..=last].iter().flatten().copied().collect();
        let fits = |shift: f64| {
            taken.iter().all(|(from, to)| high + shift + BOX_GAP <= *from + 0.01 || low + shift - BOX_GAP >= *to - 0.01)
        };
        let ends = taken.iter().flat_map(|(from, to)| [from - BOX_GAP - high, to + BOX_GAP - low]);
        let all = std::iter::once(wish).chain(ends).filter(|shift| fits(*shift));
        all.min_by(|a, b| (a - wish).abs().total_cmp(&(b - wish).abs())).unwrap_or(wish)
    }

    /// Returns for each node that edges lead on from which of its rank's it is, from the top, and of how many.
    fn trunks(&self) -> HashMap<usize, (usize, usize)> {
        let mut trunks = HashMap::new();
        for rank in 0..self.ranks {
            let all = (0..self.bands).flat_map(|band| &self.cells[band][rank]);
            let sources: Vec<usize> = all.copied().filter(|at| !self.items[*at].after.is_empty()).collect();
            for (lane, at) in sources.iter().enumerate() {
                trunks.insert(*at, (lane, sources.len()));
            }
        }
        trunks
    }

    fn picture(self, right: bool, extents: &[Option<(f64, f64)>], spans: &[(usize, usize)]) -> Layout {
        let rank_gap = match (right, self.ranks) {
            (true, _) => RANK_GAP,
            (false, ..=8) => 40.0,
            (false, ..=24) => 30.0,
            (false, _) => 22.0,
        };
        let lanes = self.drawing.lanes;
        let has_boxes = extents.iter().skip(1).any(Option::is_some);
        // Along: where each rank begins and how long it is.
        let mut starts = Vec::new();
        let mut at = match (lanes && has_boxes, right) {
            (true, true) => PAD,
            (true, false) => PAD + HEADER,
            (false, _) => 0.0,
        };
        let mut lengths = Vec::new();
        for rank in 0..self.ranks {
            let begins = !lanes && (1..self.bands).any(|band| extents[band].is_some() && spans[band].0 == rank);
            let ends = !lanes && rank > 0 && (1..self.bands).any(|b| extents[b].is_some() && spans[b].1 == rank - 1);
            if begins {
                at += PAD + if right { 0.0 } else { HEADER };
            }
            if ends {
                at += PAD;
            }
            let columns = self.columns[rank] as f64;
            let length = columns * self.node.0 + (columns - 1.0) * COLUMN_GAP;
            starts.push(at);
            lengths.push(length);
            at += length + rank_gap;
        }
        let last_ends_box = (1..self.bands).any(|b| extents[b].is_some() && spans[b].1 == self.ranks - 1);
        let total_along = at - rank_gap + if last_ends_box { PAD } else { 0.0 };
        let lowest = extents.iter().flatten().map(|(low, _)| *low).fold(f64::INFINITY, f64::min);
        let highest = extents.iter().flatten().map(|(_, high)| *high).fold(f64::NEG_INFINITY, f64::max);

        let point = |along: f64, across: f64| {
            let across = across - lowest;
            if right { Point { x: along, y: across } } else { Point { x: across, y: along } }
        };
        let rect = |along: (f64, f64), across: (f64, f64)| {
            let (a, b) = (point(along.0, across.0), point(along.1, across.1));
            Rect { x: a.x, y: a.y, w: b.x - a.x, h: b.y - a.y }
        };
        let along_of = |item: &Item| {
            let start = starts[item.rank] + item.column as f64 * (self.node.0 + COLUMN_GAP);
            (start, start + self.node.0)
        };
        let nodes = self.items.iter().filter(|item| item.node.is_some()).map(|item| {
            let half = item.size / 2.0;
            rect(along_of(item), (item.center - half, item.center + half))
        });
        let clusters = (1..self.bands).map(|band| {
            let (Some((low, high)), (first, last)) = (extents[band], spans[band]) else { return Rect::default() };
            let head = if right { 0.0 } else { HEADER };
            rect((starts[first] - PAD - head, starts[last] + lengths[last] + PAD), (low, high))
        });
        let trunks = self.trunks();
        let square = |way: &Vec<usize>| {
            let mut corners: Vec<(f64, f64)> = Vec::new();
            for pair in way.windows(2) {
                let (from, to) = (&self.items[pair[0]], &self.items[pair[1]]);
                let (lane, lanes) = trunks.get(&way[0]).copied().unwrap_or((0, 1));
                let trunk = starts[to.rank] - RANK_GAP + 24.0 + (lane as f64 + 0.5) * (RANK_GAP - 54.0) / lanes as f64;
                // Between the rows of a rank with columns there is room to pass, for several beside each other.
                let aside = ((lane % 4) as f64 - 1.5) * 2.6;
                let aisle = |item: &Item| item.center - self.node.1 / 2.0 - GAP / 2.0 + aside;
                let (_, end) = along_of(from);
                corners.push((if from.node.is_some() { end } else { starts[from.rank] }, from.center));
                if from.node.is_some() && from.column + 1 < self.columns[from.rank] {
                    corners.push((end + COLUMN_GAP / 2.0, from.center));
                    corners.push((end + COLUMN_GAP / 2.0, aisle(from)));
                }
                let height = corners.last().map_or(from.center, |(_, across)| *across);
                corners.push((trunk, height));
                let (begin, _) = along_of(to);
                if to.node.is_some() && to.column > 0 {
                    corners.push((trunk, aisle(to)));
                    corners.push((begin - COLUMN_GAP / 2.0, aisle(to)));
                    corners.push((begin - COLUMN_GAP / 2.0, to.center));
                } else {
                    corners.push((trunk, to.center));
                }
                corners.push((begin, to.center));
            }
            Way::Square(corners.into_iter().map(|(along, across)| point(along, across)).collect())
        };
        let curved = |way: &Vec<usize>| {
            let mut points = Vec::new();
            for (position, at) in way.iter().enumerate() {
                let item = &self.items[*at];
                let (begin, end) = along_of(item);
                if position + 1 == way.len() {
                    points.push(point(begin, item.center));
                } else if position == 0 {
                    points.push(point(end, item.center));
                } else {
                    points.push(point(starts[item.rank], item.center));
                    points.push(point(starts[item.rank] + lengths[item.rank], item.center));
                }
            }
            Way::Curved(points)
        };
        let edges = self.ways.iter().map(|way| if right && lanes { square(way) } else { curved(way) });
        Layout {
            nodes: nodes.collect(),
            clusters: clusters.collect(),
            edges: edges.collect(),
            size: {
                let end = point(total_along, highest);
                Point { x: end.x, y: end.y }
            },
        }
    }
}

fn place_in(band: usize, position: usize, of: usize) -> f64 {
    band as f64 + (position as f64 + 0.5) / of.max(1) as f64
}

/// Returns the rank of each node: behind all that it waits for, and no further from what waits for it than it must be.
fn ranks(nodes: usize, edges: &[Option<(usize, usize)>]) -> Vec<usize> {
    let mut after: Vec<Vec<usize>> = vec![Vec::new(); nodes];
    let mut waits = vec![0_usize; nodes];
    for (from, to) in edges.iter().flatten().filter(|(from, to)| from != to) {
        after[*from].push(*to);
        waits[*to] += 1;
    }
    let is_source: Vec<bool> = waits.iter().map(|waits| *waits == 0).collect();
    let mut rank = vec![0_usize; nodes];
    let mut ready: Vec<usize> = (0..nodes).filter(|at| waits[*at] == 0).collect();
    while let Some(at) = ready.pop() {
        for next in &after[at] {
            rank[*next] = rank[*next].max(rank[at] + 1);
            waits[*next] -= 1;
            if waits[*next] == 0 {
                ready.push(*next);
            }
        }
    }
    for at in (0..nodes).filter(|at| is_source[*at]) {
        if let Some(nearest) = after[at].iter().map(|next| rank[*next]).min() {
            rank[at] = nearest.saturating_sub(1);
        }
    }
    rank
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Edge, Node};
    use super::*;

    fn drawing(nodes: usize, edges: &[(usize, usize)], clusters: usize, lanes: bool, direction: Direction) -> Drawing {
        let node = |at: usize| Node {
            id: at.to_string(),
            cluster: (!at.is_multiple_of(clusters + 1)).then(|| (at % (clusters + 1)).to_string()),
            ..Node::default()
        };
        let edge = |(from, to): &(usize, usize)| Edge { from: from.to_string(), to: to.to_string(), ..Edge::default() };
        Drawing {
            lanes,
            direction,
            nodes: (0..nodes).map(node).collect(),
            edges: edges.iter().map(edge).collect(),
            ..Drawing::default()
        }
    }

    fn overlap(a: &Rect, b: &Rect) -> bool {
        a.x + a.w > b.x + 0.1 && b.x + b.w > a.x + 0.1 && a.y + a.h > b.y + 0.1 && b.y + b.h > a.y + 0.1
    }

    fn is_inside(inner: &Rect, outer: &Rect) -> bool {
        inner.x >= outer.x - 0.1
            && inner.y >= outer.y - 0.1
            && inner.x + inner.w <= outer.x + outer.w + 0.1
            && inner.y + inner.h <= outer.y + outer.h + 0.1
    }

    proptest! {
        #[test]
        fn nothing_covers_anything_else(
            nodes in 1_usize..60,
            edges in proptest::collection::vec((0_usize..60, 0_usize..60), 0..80),
            clusters in 0_usize..4,
            lanes in any::<bool>(),
            down in any::<bool>(),
        ) {
            let edges: Vec<(usize, usize)> = edges.into_iter().filter(|(a, b)| a < b && *b < nodes).collect();
            let direction = if down { Direction::Down } else { Direction::Right };
            let drawing = drawing(nodes, &edges, clusters, lanes, direction);
            let layout = layout(&drawing, 150.0, 40.0);
            let picture = Rect { x: 0.0, y: 0.0, w: layout.size.x, h: layout.size.y };
            for (at, a) in layout.nodes.iter().enumerate() {
                prop_assert!(is_inside(a, &picture), "{a:?} {picture:?}");
                for b in &layout.nodes[at + 1..] {
                    prop_assert!(!overlap(a, b), "{a:?} {b:?}");
                }
            }
            let names = drawing.clusters();
            for (at, a) in layout.clusters.iter().enumerate() {
                prop_assert!(is_inside(a, &picture));
                for (node, rect) in drawing.nodes.iter().zip(&layout.nodes) {
                    if node.cluster.as_deref() == Some(names[at]) {
                        prop_assert!(is_inside(rect, a), "{rect:?} {a:?}");
                    } else {
                        prop_assert!(!overlap(rect, a), "{rect:?} {a:?}");
                    }
                }
                for b in &layout.clusters[at + 1..] {
                    prop_assert!(!overlap(a, b), "{a:?} {b:?}");
                }
            }
            for way in &layout.edges {
                match way {
                    Way::Curved(points) => prop_assert_eq!(points.len() % 2, 0),
                    Way::Square(points) => {
                        for pair in points.windows(2) {
                            prop_assert!(pair[0].x == pair[1].x || pair[0].y == pair[1].y, "{pair:?}");
                        }
                    }
                }
            }
        }
    }
}
