"""What docs/papers.md names exists, and each of its statements has a test or a reason for none."""

import fnmatch
import pathlib
import re

import pytest

from tests.tfdeblur.models.test_mimo_unet import ABLATION
from tfdeblur.config import recipes

ROOT = pathlib.Path(__file__).parents[2]
PAGE = (ROOT / "docs/papers.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`([^`]+)`", PAGE)))


@pytest.mark.parametrize("path", [name for name in NAMED if re.fullmatch(r"[\w/]+(\.py|/)", name)])
def test_modules_of_the_statements_exist(path):
    assert (ROOT / "tfdeblur" / path).exists()


# Trainings of presets, with other settings than the papers'.
FAST = {
    "unet16_cifar10_fast",
    "rednet30_cifar10_fast",
    "rednet30wgan_cifar10_fast",
    "resnet16_cifar10_fast",
}


def expanded(pattern):
    """The patterns of a name such as ``{a,b}_{c,d}``."""
    found = re.search(r"\{([\w,]+)\}", pattern)
    if not found:
        return [pattern]
    parts = found[1].split(",")
    return [name for part in parts for name in expanded(pattern.replace(found[0], part, 1))]


def test_recipes_of_the_papers_are_all_named_and_exist():
    named = [
        name for line in re.findall(r"^Recipes .*", PAGE, re.M) for name in line.split("`")[1::2]
    ]
    names = {name for pattern in named for name in expanded(pattern)}
    own = {n for n in recipes.names() if recipes.load(n).about["system"] != "none"}
    assert names - {"_synthetic", "mimo_unet_gopro"} <= own
    suffixes = {f"{name}_synthetic" for name in names if name.startswith("deblurgan_study")}
    assert own - names - suffixes == FAST
    for pattern in (name for name in NAMED if name.startswith("deblurgan_pro_*")):
        assert fnmatch.filter(own, pattern)


def test_ablation_has_the_parameters_of_the_networks():
    page = (ROOT / "docs/recipes.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.*) \| ([\d.]+) M \| ([\d.]+) M \| ([\d.]+) \|$", page, re.M)
    assert len(rows) == 9
    for row, (parts, millions, parameters) in zip(rows, ABLATION, strict=False):
        flags, ours, counted, _ = row
        own = parts if flags == "all three" else set(re.findall(r"--model\.(\w+) true", flags))
        assert own == parts
        assert (ours, counted) == (f"{parameters / 1e6:.2f}", f"{millions:.2f}")
    assert rows[0][3] == str(recipes.load("mimo_unet_ablation").about["reported"]["psnr_db"])
    assert rows[8][3] == str(recipes.load("mimo_unet_gopro").about["reported"]["psnr_db"])


def test_adversarial_losses_of_the_recipes_are_in_the_documents():
    page = (ROOT / "docs/recipes.md").read_text(encoding="utf-8")
    found = {name: recipes.load(name).about["reported"] or {} for name in recipes.names()}
    found = {name: of["adversarial_loss"] for name, of in found.items() if "adversarial_loss" in of}
    assert len(found) == 3
    for name, value in found.items():
        assert re.search(rf"{value} for\s+`{name}`", page)
    # Of measured ones, the whole loss stands beside the term, on both pages.
    with_critic = [
        recipe for recipe in map(recipes.load, recipes.names()) if "critic" in recipe.config
    ]
    measured = [of for recipe in with_critic if (of := recipe.about["measured"])]
    assert measured
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for of in measured:
        whole = f"{of['loss']:.3e}".replace("e-0", "e-")
        for text in (page, readme):
            assert f"Loss (Adv.) {of['adversarial_loss']}, loss {whole}" in text


# A statement's tests, and the parts of it that none of them holds, with the reason.
VALUE = "tests/tfdeblur/config/test_recipes.py::test_value_is_that_of_the_paper"
CLAIMS = "tests/benchmarks/test_claims.py::test_claims_compare_their_contestants_within_seeds"
HELD_BY = {
    "7x7, two 3x3 of stride 2, nine (six) residual blocks with dropout, two transposed, "
    "7x7, tanh": (
        "tests/tfdeblur/models/test_deblurgan.py::test_layers_have_channels_of_the_paper",
        "tests/tfdeblur/models/test_deblurgan.py::test_blocks_have_both_convolutions_with_and_without_dropout",
        "tests/tfdeblur/models/test_deblurgan.py::test_transposed_convolution_has_geometry_of_pytorch",
        "tests/tfdeblur/models/test_deblurgan.py::test_output_without_residual_is_tanh",
        VALUE,
    ),
    "output clip(input + tanh, -1, 1)": (
        "tests/tfdeblur/models/test_deblurgan.py::test_output_is_clipped_sum_with_input",
    ),
    "11.38 M parameters": (
        "tests/tfdeblur/models/test_deblurgan.py::test_parameter_count_equals_documentation",
    ),
    "batch norm at batch 4": (
        VALUE,
        "tests/tfdeblur/models/test_deblurgan.py::test_padding_and_synchronized_options_reach_the_layers",
    ),
    "PatchGAN, LeakyReLU 0.2, norm after all convolutions but the last": (
        "tests/tfdeblur/models/critics/test_critics.py::test_leaky_relus_of_default_patch_gan_have_slope_0_2",
        "tests/tfdeblur/models/critics/test_critics.py::test_default_patch_gan_equals_that_of_the_study",
        VALUE,
    ),
    "WGAN-GP, lambda 10, five critic steps": (
        "tests/tfdeblur/objectives/test_adversarial.py::test_losses_equal_formulas_of_papers",
        "tests/tfdeblur/objectives/test_adversarial.py::test_penalty_equals_finite_differences_in_numpy",
        "tests/tfdeblur/training/engines/tensorflow/test_train_step.py::test_shared_pass_equals_separate_passes",
        VALUE,
    ),
    "equal steps give pixelated output": (
        "tests/tfdeblur/config/test_train.py::test_ablations_of_system_a_differ_in_one_place",
        "tests/benchmarks/test_gan_bench.py::test_contestants_contain_every_objective_with_a_critic",
        CLAIMS,
        "cannot be tested: that it is pixelated, which takes whole trainings",
    ),
    "perceptual loss on VGG19 conv3_3, weight 100": (
        "tests/tfdeblur/losses/test_perceptual.py::test_features_and_loss_equal_numpy",
        VALUE,
    ),
    "plain MSE as the ablation": (
        "tests/tfdeblur/config/test_train.py::test_ablations_of_system_a_differ_in_one_place",
    ),
    "GoPro, 2,103 pairs, frames resized to 256x256": (
        "tests/tfdeblur/config/test_recipes.py::test_recipes_on_gopro_say_how_many_images_their_paper_trained_on",
        "tests/test_repository.py::test_recipe_is_in_the_table_with_the_figures_of_its_file",
        "tests/data_prep/test_writer.py::test_build_with_resize_blurs_resized_frames",
        "tests/data_prep/sources/test_splits.py::test_assign_splits_zero_share_has_no_val",
        "cannot be tested: the number of pairs, without the whole data set",
    ),
    "Adam 1e-4, beta1 0.5, beta2 0.9999": (VALUE,),
    "flat for 150 epochs, then linear to 0 over 150": (
        VALUE,
        "tests/tfdeblur/training/test_schedules.py::test_linear_schedule_with_start_ends_at_zero",
        "tests/docs/test_schedules.py::test_whole_training_is_that_of_the_paper",
    ),
    "checkpoint, PSNR, SSIM and pictures every 20 epochs": (
        VALUE,
        "tests/tfdeblur/test_train.py::test_run_in_memory_writes_all_files",
    ),
    "table by epoch": (
        "tests/tfdeblur/paper/test_table.py::test_run_by_epoch_has_the_papers_figures_at_its_epochs",
        "tests/tfdeblur/test_evaluate_checkpoints.py::test_run_that_keeps_all_checkpoints_is_evaluated_at_every_epoch",
    ),
    "YOLO through OpenCV on restored against sharp images": (
        "tests/tfdeblur/test_detect.py::test_command_prints_a_table_and_writes_all_files",
        "tests/tfdeblur/test_detect.py::test_detector_finds_the_objects_of_a_photograph",
        "tests/tfdeblur/evaluation/test_detection.py::test_scores_of_the_same_pictures_stand_beside_the_detections",
    ),
    "two down blocks of 3x3 and 1x1 convolutions, depthwise separable": (
        "tests/tfdeblur/models/test_dense_deblurgan.py::test_downsampling_and_upsampling_are_separable",
        "tests/tfdeblur/models/test_dense_deblurgan.py::test_parameter_count_equals_documentation",
    ),
    "one dense block of nine layers, each 3x3 then 1x1": (
        "tests/tfdeblur/models/test_dense_deblurgan.py::test_dense_layers_get_all_previous_features",
        "tests/tfdeblur/models/test_dense_deblurgan.py::test_dense_layers_can_be_separable_too",
    ),
    "two up blocks of 3x1 and 1x3 transposed convolutions": (
        "tests/tfdeblur/models/test_dense_deblurgan.py::test_downsampling_and_upsampling_are_separable",
        "tests/tfdeblur/models/test_deblurgan.py::test_transposed_convolution_has_geometry_of_pytorch",
    ),
    "skips from the down blocks to the up blocks": (
        "tests/tfdeblur/models/test_dense_deblurgan.py::test_skips_concatenate_features_of_equal_size",
    ),
    "fewer parameters than DeblurGAN": (
        "tests/test_model_cost.py::test_the_dense_network_is_smaller_than_deblurgan",
        "tests/tfdeblur/models/test_dense_deblurgan.py::test_parameter_count_equals_documentation",
        "tests/tfdeblur/models/test_deblurgan.py::test_parameter_count_equals_documentation",
    ),
    "PatchGAN of 4x4 kernels, WGAN-GP, five critic steps, VGG19 with weight 100": (
        "tests/tfdeblur/models/critics/test_critics.py::test_patch_gan_with_other_norms_has_expected_parameters",
        "tests/tfdeblur/objectives/test_adversarial.py::test_penalty_equals_finite_differences_in_numpy",
        VALUE,
    ),
    "Adam 1e-3, batch 4, crops of 256": (VALUE,),
    '"400 iterations"': (VALUE,),
    "GoPro 27.19 / 0.82 against DeblurGAN's 26.38 / 0.73": (
        "tests/tfdeblur/config/test_train.py::test_both_columns_of_system_b_share_their_protocol",
        "tests/test_repository.py::test_recipe_is_in_the_table_with_the_figures_of_its_file",
        "tests/tfdeblur/paper/test_table.py::test_region_selects_crops_beside_which_figures_of_crops_stand",
        "cannot be tested: that they are reached, which takes whole trainings",
    ),
    "SRGAN's network at scale 1: 9x9, PReLU, 16 blocks, 9x9, tanh": (
        "tests/tfdeblur/models/test_srresnet.py::test_structure_equals_that_of_the_paper",
        "tests/tfdeblur/models/test_srresnet.py::test_parameter_count_equals_documentation",
        "tests/tfdeblur/models/test_srresnet.py::test_output_is_bounded_by_tanh",
    ),
    "pure MIMO-UNet": (
        "tests/tfdeblur/config/test_train.py::test_networks_of_system_c_are_pure_and_share_a_range",
        "tests/tfdeblur/models/test_mimo_unet.py::test_parameter_count_equals_ablation_of_the_paper",
    ),
    "discriminator of N layers, conditional on the blurred image": (
        "tests/tfdeblur/models/critics/test_critics.py::test_scores_with_any_norm_are_finite_float32_maps",
        VALUE,
    ),
    '"N blocks similar to residual blocks"': (
        "tests/tfdeblur/models/critics/test_critics.py::test_residual_block_adds_a_pointwise_convolution_of_its_input",
        VALUE,
    ),
    "basic GAN: MSE + 0.006 VGG + 0.001 adversarial": (
        "tests/tfdeblur/objectives/test_adversarial.py::test_losses_equal_formulas_of_papers",
        "tests/tfdeblur/config/test_train.py::test_networks_of_system_c_are_pure_and_share_a_range",
        "tests/tfdeblur/models/test_srresnet.py::test_output_is_bounded_by_tanh",
        VALUE,
    ),
    "WGAN-GP; relativistic average least squares": (
        "tests/tfdeblur/objectives/test_adversarial.py::test_losses_equal_formulas_of_papers",
        "tests/tfdeblur/objectives/test_adversarial.py::test_penalty_equals_finite_differences_in_numpy",
        VALUE,
    ),
    "FFT loss, for precise results": (
        "tests/tfdeblur/losses/test_frequency.py::test_fft_of_even_and_odd_sizes_equals_numpy",
        CLAIMS,
        VALUE,
        "cannot be tested: that it is more precise, which takes whole trainings",
    ),
    "composable configuration": (
        "tests/tfdeblur/test_train.py::test_command_line_configures_the_run",
        "tests/tfdeblur/training/test_combinations.py::test_model_with_objective_gives_finite_metrics",
        "tests/tfdeblur/objectives/test_content.py::test_loss_is_weighted_sum_of_unweighted_terms",
    ),
    "a GAN trains about three times slower": (
        CLAIMS,
        "tests/benchmarks/test_gan_bench.py::test_gan_bench_trains_all_contestants_alike",
    ),
    "MIMO-UNet's ablation in nine rows": (
        "tests/tfdeblur/models/test_mimo_unet.py::test_parameter_count_equals_ablation_of_the_paper",
        "tests/tfdeblur/config/test_train.py::test_recipe_of_the_ablation_takes_its_parts_as_flags",
        "tests/docs/test_papers.py::test_ablation_has_the_parameters_of_the_networks",
    ),
    "pairs from sharp images by random-trajectory blur": (
        "tests/tfdeblur/degradation/test_kernels.py::test_trajectory_kernel_sums_to_one_and_is_centered",
        "tests/data_prep/sources/test_sharp.py::test_sharp_options_select_blur",
        "tests/tfdeblur/degradation/test_synthesis.py::test_images_equal_numpy_for_the_same_draws",
        "tests/tfdeblur/config/test_train.py::test_synthetic_paths_of_system_d_suit_the_size_of_its_frames",
    ),
    "residual block of convolution, instance norm, ReLU": (
        "tests/tfdeblur/models/test_deblurgan.py::test_blocks_have_both_convolutions_with_and_without_dropout",
        "tests/tfdeblur/config/test_train.py::test_networks_of_system_d_have_instance_norm",
    ),
    "weight clipping: RMSprop 5e-5, c 0.01, five critic steps": (
        "tests/tfdeblur/training/engines/tensorflow/test_train_step.py::test_weight_clip_bounds_the_critic_only",
        VALUE,
    ),
    "gradient penalty": (
        "tests/tfdeblur/objectives/test_adversarial.py::test_penalty_equals_finite_differences_in_numpy",
        VALUE,
    ),
    "a sixth of the data": (
        "tests/data_prep/test_plan.py::test_make_plan_fraction_applies_to_train_and_limit_to_all",
        "tests/tfdeblur/config/test_train.py::test_epochs_of_systems_a_and_d_drop_the_remainder",
        "tests/docs/test_schedules.py::test_whole_training_is_that_of_the_paper",
    ),
    "a page of original, generated and real pictures that grows": (
        "tests/tfdeblur/training/test_gallery.py::test_fewer_images_keep_their_records",
        "tests/tfdeblur/training/test_gallery.py::test_page_without_validation_shows_training_samples_and_curves",
        "tests/tfdeblur/training/test_gallery.py::test_long_runs_keep_some_stages_of_each_image",
    ),
    "log with PSNR on training images and time of an epoch": (
        "tests/tfdeblur/training/engines/tensorflow/test_train_step.py::test_training_psnr_is_of_the_images_whose_input_differs",
        "tests/tfdeblur/training/test_loop.py::test_speed_leaves_out_the_first_call",
        "tests/tfdeblur/evaluation/test_losses.py::test_best_checkpoint_has_the_critic_of_the_validation",
        "tests/tfdeblur/training/test_gallery.py::test_training_psnr_and_time_of_an_epoch_are_on_the_page_and_in_tensorboard",
    ),
    "weighted content term of about 480 to 560": (
        "tests/tfdeblur/losses/test_perceptual.py::test_loss_of_real_pairs_equals_documented_values",
    ),
    "detection before and after": (
        "tests/tfdeblur/evaluation/test_detection.py::test_card_writes_table_and_files",
        "tests/tfdeblur/evaluation/test_detection.py::test_page_shows_boxes_with_labels",
    ),
    "ResNet16 7,366,034, UNet16 482,067, REDNet30 1,080,579 parameters": (
        "tests/tfdeblur/models/test_resnet16.py::test_parameter_count_equals_documentation",
        "tests/tfdeblur/models/test_unet16.py::test_parameter_count_equals_documentation",
        "tests/tfdeblur/models/test_rednet30.py::test_parameter_count_equals_documentation",
    ),
    "MSDeblurWGAN with 19 blocks, 5 on REDS": (
        "tests/tfdeblur/models/test_ms_deblur.py::test_parameter_count_equals_documentation",
        VALUE,
    ),
    "critic with layer norm, 2,766,657 parameters": (
        "tests/tfdeblur/models/critics/test_critics.py::test_default_patch_gan_equals_that_of_the_study",
        VALUE,
    ),
    "CIFAR-10, Gaussian blur of sigma U(0, 3), size round(6 sigma + 1) | 1, reflect-101": (
        "tests/data_prep/test_blur.py::test_gaussian_sigma_is_uniform_in_range",
        "tests/tfdeblur/degradation/test_kernels.py::test_gaussian_size_holds_three_sigma",
        "tests/data_prep/test_blur.py::test_gaussian_matches_opencv",
        "tests/data_prep/sources/test_cifar10.py::test_cifar10_without_source_uses_keras",
        "tests/data_prep/sources/test_cifar10.py::test_cifar10_real_test_split_has_known_scores",
    ),
    "REDS: 21,000 train, 3,000 validation, official validation as test": (
        "tests/data_prep/sources/test_reds.py::test_reds_official_val_is_test_split",
        "cannot be tested: the numbers of frames, without the whole data set",
    ),
    "512x288 in patches of 128x96; 256x144 in 64x48 for the GAN": (
        "tests/data_prep/test_plan.py::test_make_plan_with_resize_counts_tiles_of_resized_frames",
        "tests/data_prep/test_build.py::test_build_real_reds_has_tile_count_of_paper",
        "tests/test_repository.py::test_recipe_is_in_the_table_with_the_figures_of_its_file",
        "tests/tfdeblur/config/test_recipes.py::test_data_of_system_e_are_built_in_patches_of_the_paper",
    ),
    "flips in both directions": (
        "tests/tfdeblur/data/test_augment.py::test_place_yields_all_requested_orientations_only",
        VALUE,
    ),
    "LogCosh against MSE and MAE": (
        "tests/tfdeblur/losses/test_pixel.py::test_loss_equals_numpy_reference",
        "tests/tfdeblur/metrics/test_metrics.py::test_quick_metrics_are_those_of_earlier_score_files",
        VALUE,
    ),
    "Adam 1e-3, 32 images on each of 8 replicas; 120, 100 epochs": (
        VALUE,
        "tests/docs/test_schedules.py::test_whole_training_is_that_of_the_paper",
    ),
    "REDNet30 on CIFAR-10 to 200 epochs, 1e-4 times 0.7 every 5 epochs from 120 on": (
        VALUE,
        "tests/tfdeblur/training/test_schedules.py::test_step_schedule_with_start_and_drop",
    ),
    "WGANs: lambda 10, five critic steps, Adam 2e-4, 0.5, 0.9, LogCosh + 1e-4 adversarial": (
        "tests/tfdeblur/objectives/test_adversarial.py::test_penalty_equals_finite_differences_in_numpy",
        "tests/tfdeblur/models/test_rednet30.py::test_input_is_added_before_last_activation",
        "tests/tfdeblur/models/test_ms_deblur.py::test_block_output_is_sum_and_last_activation_is_tanh",
        VALUE,
    ),
    "the critic sees the finest scale only": (
        "tests/tfdeblur/objectives/test_adversarial.py::test_critic_sees_the_finest_output_only",
    ),
    "multi-scale LogCosh, sums over c w h, over 2K": (
        "tests/tfdeblur/objectives/test_content.py::test_loss_of_a_pyramid_combines_the_means_of_its_scales",
        VALUE,
    ),
    "a WGAN is indifferent to several scales at 32x32": (
        "tests/benchmarks/test_gan_bench.py::test_contestants_of_one_scale_take_as_many_operations_as_those_of_three",
        CLAIMS,
    ),
    "150 and 350 epochs": (VALUE,),
    "bfloat16; TFRecords on cloud storage": (
        "tests/tfdeblur/test_train.py::test_run_in_bfloat16_has_float32_weights",
        "tests/tfdeblur/test_train.py::test_run_in_memory_writes_all_files",
        "tests/data_prep/test_writer.py::test_build_to_memory_file_system_is_identical",
        "tests/tfdeblur/evaluation/test_evaluator.py::test_values_equal_float64",
        "cannot be tested: gs:// itself, without a bucket",
    ),
    "stages parse, modify, split, cache, augment, shuffle, batch": (
        "tests/tfdeblur/paper/test_figures.py::test_stages_show_frame_record_crop_flips_and_batch",
        "tests/tfdeblur/data/test_pipeline.py::TestOrder::test_order_equals_shard_order",
        "tests/tfdeblur/data/test_mixture.py::test_records_are_cached_if_they_fit_into_memory",
    ),
    "Loss (Adv.) on the test split (tables 4.1, 4.2)": (
        "tests/tfdeblur/evaluation/test_losses.py::test_wasserstein_loss_is_minus_the_mean_score_and_the_weighted_content",
        "tests/tfdeblur/paper/test_table.py::test_networks_stand_beside_the_input_and_their_papers",
        "tests/docs/test_papers.py::test_adversarial_losses_of_the_recipes_are_in_the_documents",
    ),
    "loss, SSIM, PSNR, MSE, MAE, LogCosh": (
        "tests/tfdeblur/paper/test_table.py::test_networks_stand_beside_the_input_and_their_papers",
        "tests/tfdeblur/evaluation/test_evaluator.py::test_values_equal_float64",
    ),
    "curves of training and validation (3.9 to 3.13, 4.4 to 4.6, 4.8, 4.9)": (
        "tests/tfdeblur/paper/test_curve_charts.py::test_one_run_has_training_validation_and_baseline",
        "tests/tfdeblur/paper/test_curve_charts.py::test_several_runs_share_charts_with_epochs_of_their_own",
        "tests/tfdeblur/paper/test_figures.py::test_curves_of_two_runs_are_written_as_a_page_and_files",
    ),
    "the same images by several networks (3.11, 4.7)": (
        "tests/tfdeblur/paper/test_figures.py::test_images_of_networks_and_pictures_stand_side_by_side",
    ),
    "frames from patches, regions magnified (3.14 to 3.16, 4.10)": (
        "tests/tfdeblur/paper/test_figures.py::test_frames_are_put_together_for_every_network",
        "tests/tfdeblur/paper/test_figures.py::test_region_is_found_where_networks_differ_most",
        "tests/tfdeblur/evaluation/test_frames.py::test_frames_are_scored_as_if_evaluated_whole",
    ),
    "an image blurred at rising sigma (2.1)": (
        "tests/tfdeblur/paper/test_figures.py::test_sigma_blurs_as_data_preparation_does",
        "tests/tfdeblur/paper/test_figures.py::test_sigma_has_the_pixels_of_a_build",
    ),
    "GoPro by the REDS network beside DeepDeblur (B.1)": (
        "tests/tfdeblur/evaluation/test_given_pictures.py::test_comparison_has_the_pictures_as_one_more_column",
        "tests/tfdeblur/paper/test_figures.py::test_images_of_networks_and_pictures_stand_side_by_side",
        "tests/tfdeblur/paper/test_table.py::test_networks_stand_across_their_test_sets",
    ),
}
REASON = "cannot be tested: "


def statements():
    """The first cells of the tables of statements."""
    tables = re.findall(r"^\| statement .*\n\| --- .*\n((?:\| .*\n)+)", PAGE, re.M)
    lines = [line for table in tables for line in table.splitlines()]
    return [line.removeprefix("| ").split(" | ")[0].replace("\\|", "|") for line in lines]


def exists(test):
    path, *_, name = test.split("::")
    file = ROOT / path
    return file.exists() and re.search(rf"^ *def {name}\(", file.read_text("utf-8"), re.M)


def test_every_statement_has_tests_or_a_reason():
    assert sorted(statements()) == sorted(HELD_BY)
    assert all(HELD_BY.values())


@pytest.mark.parametrize("statement", HELD_BY)
def test_tests_of_the_statements_exist(statement):
    named = [test for test in HELD_BY[statement] if not test.startswith(REASON)]
    assert [test for test in named if not exists(test)] == []
