//! Where the boxes of a graph are drawn: in layers from left to right, so that each edge leads to the right.

/// Between two layers, in characters.
const GAP_WIDTH: u32 = 6;
/// Between two boxes of a layer, in lines of text.
const GAP_HEIGHT: i64 = 1;
/// The height of a box, in lines of text.
pub(crate) const BOX_HEIGHT: u32 = 2;
/// Sweeps over all layers, there and back.
const SWEEPS: usize = 4;
/// Maximum number of points of edges that are given room between boxes; with more, edges go straight.
const MAX_POINTS: usize = 4000;

/// Boxes with their places.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) places: Vec<BoxPlace>,
    /// For each edge the points where it passes the layers between its boxes.
    pub(crate) points: Vec<Vec<(u32, u32)>>,
    pub(crate) width: u32,
    pub(crate) height: u32,
}

/// The place of a box.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BoxPlace {
    pub(crate) layer: u32,
    pub(crate) x: u32,
    pub(crate) y: u32,
}

/// The layer of each of `count` nodes: the number of edges of the longest way to it. An edge that would close a circle
/// leads to no later layer.
pub(crate) fn layers(count: usize, edges: &[(usize, usize)]) -> Vec<usize> {
    let mut later = vec![Vec::new(); count];
    let mut before = vec![0_usize; count];
    for (from, to) in edges.iter().filter(|(from, to)| from != to) {
        later[*from].push(*to);
        before[*to] += 1;
    }
    let mut layers = vec![0; count];
    let mut is_done = vec![false; count];
    let mut free: Vec<usize> = (0..count).filter(|node| before[*node] == 0).collect();
    let mut first = 0;
    loop {
        let Some(node) = free.pop() else {
            // What is left is a circle: it is opened at its first node.
            match (first..count).find(|node| !is_done[*node]) {
                Some(node) => {
                    first = node;
                    free.push(node);
                    continue;
                }
                None => return layers,
            }
        };
        if std::mem::replace(&mut is_done[node], true) {
            continue;
        }
        for to in &later[node] {
            if !is_done[*to] {
                layers[*to] = layers[*to].max(layers[node] + 1);
                before[*to] -= 1;
                if before[*to] == 0 {
                    free.push(*to);
                }
            }
        }
    }
}

/// Places boxes of these widths. Each edge must lead to a later layer, as [`layers`] has them.
pub(crate) fn layout(widths: &[u32], edges: &[(usize, usize)]) -> Layout {
    let mut drawing = Drawing::new(widths.len(), edges);
    for _ in 0..SWEEPS {
        drawing.order(Side::Before);
        drawing.order(Side::After);
    }
    drawing.order(Side::Before);
    drawing.stack();
    for _ in 0..SWEEPS {
        drawing.align(Side::Before);
        drawing.align(Side::After);
    }
    drawing.align(Side::Before);
    drawing.finish(widths)
}

/// The layers of which one is fitted to the other.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Before,
    After,
}

/// Boxes, and behind them the points of long edges, one in each layer that an edge passes.
struct Drawing {
    boxes: usize,
    layer: Vec<usize>,
    before: Vec<Vec<usize>>,
    after: Vec<Vec<usize>>,
    /// The order from top to bottom.
    rows: Vec<Vec<usize>>,
    y: Vec<i64>,
    /// The points of each edge.
    passes: Vec<Vec<usize>>,
}

impl Drawing {
    fn new(boxes: usize, edges: &[(usize, usize)]) -> Drawing {
        let layer = layers(boxes, edges);
        let between = |(from, to): &(usize, usize)| layer[*to].saturating_sub(layer[*from] + 1);
        let points: usize = edges.iter().map(between).sum();
        let mut drawing = Drawing {
            boxes,
            before: vec![Vec::new(); boxes],
            after: vec![Vec::new(); boxes],
            rows: Vec::new(),
            y: Vec::new(),
            passes: Vec::new(),
            layer,
        };
        for (from, to) in edges {
            let passes = match points <= MAX_POINTS {
                true => drawing.pass(*from, *to),
                false => Vec::new(),
            };
            let stops = [&[*from], &passes[..], &[*to]].concat();
            for pair in stops.windows(2) {
                drawing.after[pair[0]].push(pair[1]);
                drawing.before[pair[1]].push(pair[0]);
            }
            drawing.passes.push(passes);
        }
        let last = drawing.layer.iter().max().map_or(0, |last| last + 1);
        drawing.rows = vec![Vec::new(); last];
        for (node, layer) in drawing.layer.iter().enumerate() {
            drawing.rows[*layer].push(node);
        }
        drawing.y = vec![0; drawing.layer.len()];
        drawing
    }

    /// A point in each layer between two boxes.
    fn pass(&mut self, from: usize, to: usize) -> Vec<usize> {
        let first = self.layer.len();
        let between = self.layer[from] + 1..self.layer[to];
        self.layer.extend(between);
        self.before.resize(self.layer.len(), Vec::new());
        self.after.resize(self.layer.len(), Vec::new());
        (first..self.layer.len()).collect()
    }

    fn neighbours(&self, node: usize, side: Side) -> &[usize] {
        match side {
            Side::Before => &self.before[node],
            Side::After => &self.after[node],
        }
    }

    fn layers_from(&self, side: Side) -> Vec<usize> {
        match side {
            Side::Before => (0..self.rows.len()).collect(),
            Side::After => (0..self.rows.len()).rev().collect(),
        }
    }

    /// Orders each layer by where its neighbours stand in theirs, so that few edges cross.
    fn order(&mut self, side: Side) {
        let mut rank = vec![0_usize; self.layer.len()];
        for layer in self.layers_from(side) {
            let mut row = std::mem::take(&mut self.rows[layer]);
            let keys: Vec<(f64, usize)> = row
                .iter()
                .enumerate()
                .map(|(at, node)| {
                    let near = self.neighbours(*node, side);
                    let sum: usize = near.iter().map(|near| rank[*near]).sum();
                    match near.len() {
                        0 => (at as f64, at),
                        count => (sum as f64 / count as f64, at),
                    }
                })
                .collect();
            let mut order: Vec<usize> = (0..row.len()).collect();
            order.sort_by(|one, other| {
                keys[*one]
                    .partial_cmp(&keys[*other])
                    .unwrap_or(one.cmp(other))
            });
            row = order.into_iter().map(|at| row[at]).collect();
            for (at, node) in row.iter().enumerate() {
                rank[*node] = at;
            }
            self.rows[layer] = row;
        }
    }

    fn height(&self, node: usize) -> i64 {
        match node < self.boxes {
            true => i64::from(BOX_HEIGHT),
            false => 1,
        }
    }

    fn stack(&mut self) {
        for row in self.rows.clone() {
            let mut y = 0;
            for node in row {
                self.y[node] = y;
                y += self.height(node) + GAP_HEIGHT;
            }
        }
    }

    /// Moves each layer to where its neighbours are, as near as its order and its gaps allow.
    fn align(&mut self, side: Side) {
        for layer in self.layers_from(side) {
            let row = &self.rows[layer];
            let mut offset = 0;
            let mut wanted = Vec::with_capacity(row.len());
            let mut offsets = Vec::with_capacity(row.len());
            for node in row {
                let near = self.neighbours(*node, side);
                let middle = |node: usize| 2 * self.y[node] + self.height(node);
                let wish = match near.len() as i64 {
                    0 => self.y[*node],
                    count => {
                        let sum: i64 = near.iter().map(|near| middle(*near)).sum();
                        (sum - self.height(*node) * count).div_euclid(2 * count)
                    }
                };
                wanted.push(wish - offset);
                offsets.push(offset);
                offset += self.height(*node) + GAP_HEIGHT;
            }
            let row = row.clone();
            for ((node, y), offset) in row.iter().zip(rising(&wanted)).zip(offsets) {
                self.y[*node] = y + offset;
            }
        }
    }

    fn finish(self, widths: &[u32]) -> Layout {
        let top = self.y.iter().min().copied().unwrap_or(0);
        let y = |node: usize| u32::try_from(self.y[node] - top).unwrap_or(0);
        let mut left = Vec::with_capacity(self.rows.len());
        let mut x = 0;
        for row in &self.rows {
            left.push(x);
            let boxes = row.iter().filter(|node| **node < self.boxes);
            x += boxes.map(|node| widths[*node]).max().unwrap_or(0) + GAP_WIDTH;
        }
        let places: Vec<BoxPlace> = (0..self.boxes)
            .map(|node| BoxPlace {
                layer: self.layer[node] as u32,
                x: left[self.layer[node]],
                y: y(node),
            })
            .collect();
        let bottoms = (0..self.layer.len()).map(|node| y(node) + self.height(node) as u32);
        let points = self.passes.iter().map(|passes| {
            let point = |node: &usize| (left[self.layer[*node]], y(*node));
            passes.iter().map(point).collect()
        });
        Layout {
            points: points.collect(),
            width: x.saturating_sub(GAP_WIDTH),
            height: bottoms.max().unwrap_or(0),
            places,
        }
    }
}

/// The rising numbers that are nearest to these: where they fall, all of a stretch become its mean.
fn rising(wanted: &[i64]) -> Vec<i64> {
    // Sum and length of each stretch.
    let mut stretches: Vec<(i64, i64)> = Vec::new();
    for wish in wanted {
        let mut stretch = (*wish, 1);
        while let Some((sum, length)) = stretches.last().copied() {
            if sum.div_euclid(length) <= stretch.0.div_euclid(stretch.1) {
                break;
            }
            stretches.pop();
            stretch = (stretch.0 + sum, stretch.1 + length);
        }
        stretches.push(stretch);
    }
    let means = stretches.into_iter();
    means
        .flat_map(|(sum, length)| (0..length).map(move |_| sum.div_euclid(length)))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Widths of boxes, and edges that each lead from a lower number to a higher one.
    fn graphs() -> impl Strategy<Value = (Vec<u32>, Vec<(usize, usize)>)> {
        prop::collection::vec(1..30_u32, 1..40).prop_flat_map(|widths| {
            let count = widths.len();
            let edge = (0..count, 0..count).prop_filter_map("a loop", |(one, other)| {
                (one != other).then(|| (one.min(other), one.max(other)))
            });
            let edges = match count {
                1 => Just(Vec::new()).boxed(),
                _ => prop::collection::vec(edge, 0..80).boxed(),
            };
            (Just(widths), edges)
        })
    }

    #[test]
    fn a_circle_does_not_keep_the_layers_from_an_end() {
        let layers = layers(4, &[(0, 1), (1, 2), (2, 0), (2, 3), (3, 3)]);
        assert_eq!(layers, [0, 1, 2, 3]);
    }

    #[test]
    fn a_chain_is_a_straight_line() {
        let found = layout(&[5, 9, 5], &[(0, 1), (1, 2)]);
        let places: Vec<_> = found
            .places
            .iter()
            .map(|place| (place.x, place.y))
            .collect();
        assert_eq!(places, [(0, 0), (11, 0), (26, 0)]);
        assert_eq!((found.width, found.height), (31, 2));
    }

    #[test]
    fn the_one_before_many_stands_in_their_middle() {
        let found = layout(&[5; 4], &[(0, 1), (0, 2), (0, 3)]);
        let y: Vec<_> = found.places.iter().map(|place| place.y).collect();
        assert_eq!(y, [3, 0, 3, 6]);
    }

    #[test]
    fn falling_stretches_become_their_mean() {
        assert_eq!(rising(&[1, 5, 3, 7, 6, 2]), [1, 4, 4, 5, 5, 5]);
    }

    proptest! {
        #[test]
        fn no_two_boxes_overlap((widths, edges) in graphs()) {
            let found = layout(&widths, &edges);
            for (one, a) in found.places.iter().enumerate() {
                prop_assert!(a.x + widths[one] <= found.width && a.y + BOX_HEIGHT <= found.height);
                for (other, b) in found.places.iter().enumerate().skip(one + 1) {
                    let apart = a.x + widths[one] <= b.x || b.x + widths[other] <= a.x
                        || a.y + BOX_HEIGHT <= b.y || b.y + BOX_HEIGHT <= a.y;
                    prop_assert!(apart, "{one} at {a:?}, {other} at {b:?}");
                }
            }
        }

        #[test]
        fn each_edge_leads_to_the_right((widths, edges) in graphs()) {
            let found = layout(&widths, &edges);
            for ((from, to), points) in edges.iter().zip(&found.points) {
                let (from_at, to_at) = (found.places[*from], found.places[*to]);
                prop_assert!(from_at.x + widths[*from] < to_at.x);
                prop_assert_eq!(points.len() as u32, to_at.layer - from_at.layer - 1);
                let x: Vec<u32> = points.iter().map(|(x, _)| *x).collect();
                prop_assert!(x.is_sorted_by(|one, other| one < other));
            }
        }

        #[test]
        fn no_edge_passes_through_a_box_between_its_ends((widths, edges) in graphs()) {
            let found = layout(&widths, &edges);
            for (x, y) in found.points.iter().flatten() {
                let is_hit = found.places.iter().any(|place| {
                    place.x == *x && (place.y..place.y + BOX_HEIGHT).contains(y)
                });
                prop_assert!(!is_hit, "({x}, {y})");
            }
        }

        #[test]
        fn the_same_graph_is_drawn_alike((widths, edges) in graphs()) {
            prop_assert_eq!(layout(&widths, &edges), layout(&widths, &edges));
        }
    }
}
