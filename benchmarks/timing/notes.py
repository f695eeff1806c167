"""What stands below the tables of the page: what exactly was measured."""

EVALUATION = "Evaluation"
SPAIR_SIZED = "A case of SPair-71k's size"
TRAINING = "Training, supervised pairs a second"
VARIANTS = "Ways to run the encoder"
SWEEPS = "Sweeps, steps and start-up"

NOTES = {
    EVALUATION: """
- *naive loop*: pair by pair, both images in one forward, in inference mode, with the same encoder, threads and
  predictors. Timed on evenly spaced pairs and scaled to all. Images are decoded, resized and normalised before the
  clock starts, and neither scoring nor writing is counted against it.
- *peftcorr*: from the opened dataset, no image decoded, to predictions (Parquet) and record on the disk: flattening,
  decoding, encoding in batches, matching, two predictors, scoring at three thresholds, writing.
- *encoder alone*: seconds inside the encoder for each distinct image once, in the same batches.
- Times are medians of the repetitions, ratios are medians of each repetition's own ratio; the three are measured in
  turn. *bound* is two forwards a pair over one an image.
- *scores differ by*: the largest difference, in percent, of any PCK (per keypoint, per image, any threshold) between
  the naive loop's predictions and ours on the pairs that it was timed on.
""",
    SPAIR_SIZED: """
- Synthetic pictures in SPair-71k's layout (481 images in 18 categories, 12,234 pairs, 88,328 keypoints), DINOv2
  ViT-S/14 at 224 px with random weights. The longer lists repeat every pair. Each figure is the median of five fresh
  processes, which take the lists in turn.
- *until the last image is encoded*: correspondences, plan and predictions are arrays in memory. After it, a row of
  predictions for each keypoint and predictor is kept and scored: 1.6 million with nine times the pairs.
- *everything but the encoder*: the whole pipeline with an encoder that costs next to nothing and gives maps of
  ViT-B/14's shape at 518 px: decoding, matching, predicting, scoring, writing. Its peak memory is *without an
  encoder*.
""",
    TRAINING: """
- animal-pairs at 224 px, DINOv2 ViT-S/14, AdamW, images decoded beforehand for all.
- *naive*: a batch of pairs, two forwards for each of them in one batch, losses one by one, one optimiser step; the
  ratio is to the faster of the two. Its keypoints are mapped to the input before the clock starts.
- *peftcorr*: `Trainer` on cliques of 8 images: drawing batches, schedule and resumable state included.
""",
    VARIANTS: """
- DINOv2 ViT-S/14 at 224 px, batches of 16 of PF-Willow's photographs, in turn. Features differ relative to their
  largest value. *PCK differs by*: the largest change, in points, of any PCK on PF-Willow (900 pairs).
""",
    SWEEPS: """
- *equal cells*: LoRA on the embedded benchmark with eight seeds, the three ways in turn, each a sweep from its start to
  its summary. A thread is a core that the sweep may use.
- *last-1*: the last block of DINOv2 ViT-S/14 on animal-pairs at 224 px, each sweep with an empty cache.
- *a run of one step and one pair*: from the shell's prompt to the summary, validation and scoring included.
""",
}
