// The chain rule for one number: its gradient as a sum over the numbers that are computed from it.

// Returns { layer, gradient, terms } for a place before the logits; a term is { place, upstream, derivative,
// text, product }, where `upstream` is the gradient at `place`. The largest come first. Returns null where the
// session does not know the terms.
export function chainRule(session, place) {
  const found = session.termsOf(place);
  if (!found) return null;
  const { layer, terms } = found;
  const complete = terms.map((term) => {
    const upstream = session.gradientAt(term.place).data[term.place.index];
    return { ...term, upstream, product: upstream * term.derivative };
  });
  complete.sort((a, b) => Math.abs(b.product) - Math.abs(a.product));
  return { layer, gradient: session.gradientAt(place).data[place.index], terms: complete };
}

// Returns the places on the path to the logits that follows the largest term of each sum.
export function largestPath(session, place) {
  const path = [place];
  while (path.at(-1).stage !== session.lastStage) {
    const largest = chainRule(session, path.at(-1))?.terms[0];
    if (!largest) break; // for instance because pooling ignores this pixel
    path.push(largest.place);
  }
  return path;
}
