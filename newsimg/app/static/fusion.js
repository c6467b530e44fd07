/* Fusion and sorting as newsimg.weight and newsimg.pipeline do, in the same order of operations. */

/* Fused scores (1 - w) * retrieval + w * rerank of normalised scores. */
export const interpolate = (retrieval, rerank, weight) => retrieval.map((score, i) => (1 - weight) * score + weight * rerank[i]);

/* Positions of scores, the largest first; equal scores keep their order. */
export const rankScores = scores => scores.map((_, i) => i).sort((i, j) => scores[j] - scores[i]);
