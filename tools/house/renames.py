"""The table of rename.py. A row is old>new; a row whose old name is gone is reported and skipped."""

NAMES = {
    "core.files": "whole_file>atomic_write is_plain_name>is_safe_name exactly>read_exact",
    "core.display_text": "visible>escape_controls",
    "core.parallel": "run_scenes>map_scenes Done>OnResult",
    # data
    "data.records": "is_inside>is_safe_relative_path image_path>safe_join to_line>encode_record from_line>decode_record shards>list_shards",
    "data.writer": "writing>wrap_write_errors jpeg>encode_jpeg png16>encode_depth_png put_image>write_or_link_image matrix_text>format_matrix "
                   "is_stated>is_exportable SceneFiles>RecordFields record_lines>encode_records Images>ImageCopyMode IMAGES>IMAGE_COPY_MODES",
    "data.scene_job": "Plan>GenerationConfig plan_tasks>resolve_tasks uncollected>gc_paused work>run_scene_job build_lines>build_records "
                      "build_scene>generate_scene task_lines>encode_task",
    "data.generate": "SEEING>DEFAULT_VISIBILITY RULES>DEFAULT_THRESHOLDS merge>merge_shards",
    "data.manifest": "split_content>split_entry join_splits>merge_splits without_paths>redact_paths",
    "data.leakage": "space>space_id LISTS>HELD_OUT_LISTS benchmark_scenes>held_out_scenes",
    "tasks.validation": "usable>validate_scene frame_fault>frame_problem object_fault>instance_problem HARMLESS>EXPECTED_REASONS "
                       "faults>data_errors RULES>DEFAULT_THRESHOLDS",
    "data.released": "stated_facts>facts_from_text Understood>ParseStats overview>parse_coverage",
    # scenes
    "scenes.scene": "Surface>Mesh Source>SceneSource",
    "scenes.visibility": "see>compute_visibility VisibilityRule>VisibilityThresholds SPECK>SPECKLE_RADIUS_PX LOW>FLOOR_BAND_M fingerprint>content_hash",
    "scenes.frame_selection": "FrameChoice>FrameSelection choose_frames>select_frames new_views>drop_near_duplicates EVERY_FRAME>ALL_FRAMES",
    "scenes.summary": "counted>format_counts lost_frames>count_skipped_frames summarise>summarize",
    "scenes.splits": "names_of_split>split_scenes origin_of_split>split_origin",
    "scenes.labels": "normal>normalize_label is_name>is_valid_label is_thing>is_object_label clear_names>unambiguous_labels",
    "scenes.floor_coverage": "inside>points_in_polygons floor_shown>floor_coverage",
    "scenes.viewer": "view>plot_scene plan>plot_floor_plan",
    "scenes.box_room": "cast>raycast_boxes Solid>BoxObject toy_scene>box_room_scene",
    "scenes.completeness": "THIN>MAX_THICKNESS_M MOST>MAX_BORDERS",
    "scenes.geometry.rasterizer": "compiled>jit draw_surface>rasterize_mesh render_ids>render_depth_and_ids NEAR>NEAR_PLANE_M SLACK>EDGE_TOLERANCE_PX",
    "scenes.geometry.poses": "FAR>MAX_COORDINATE_M",
    "scenes.geometry.silhouette": "MOST>MAX_LATTICE_POINTS",
    "scenes.geometry.floor": "GAP>MAX_GAP_M",
    "scenes.geometry.undistort": "Lens>CameraModel rectified>undistorted_camera rectify_color>undistort_color rectify_nearest>undistort_labels",
    "scenes.geometry.depth_fusion": "fuse>fuse_depth links>connected_pixels thinned>subsampled_camera",
    "scenes.geometry.mesh": "majority>triangle_majority",
    "scenes.formats.archives": "Store>ArchiveStore Place>FileRef members>member_names BROKEN>READ_ERRORS",
    "scenes.formats.images": "pixels>decode_image lazy_image>open_image_header",
    "scenes.formats.video": "need_av>require_pyav AHEAD>MAX_SEEK_FRAMES",
    "scenes.readers.arkitscenes": "Shot>FrameFiles quarter_turns>upright_rotation CLOSE>MAX_TIME_GAP_MS near>nearest_in_time FAR>MAX_COORDINATE_M",
    "scenes.readers.spar7m": "Shot>FrameFiles",
    "scenes.readers.scannet.reader": "Info>ScanInfo Group>ObjectGroup label_vertices>assign_instances places_of>candidate_folders "
                                     "list_places>split_folders LISTS>SPLIT_LIST_NAME",
    "scenes.readers.scannet.exported_frames": "FrameTree>ExportedFrames look_for_tree>detect_layout",
    "scenes.readers.scannet.labels": "at_depth>resize_ids_to_depth",
    "scenes.readers.scannetpp.reader": "to_floor>floor_offset LISTS>SPLIT_LIST_NAME list_places>split_folders",
    "scenes.readers.scannetpp.cameras": "Shot>FrameFiles lifted>shift_up straightened>undistorted",
    "scenes.readers.scannetpp.annotations": "Group>ObjectGroup JUNK>IGNORED_LABELS owners>vertex_owners",
    "scenes.readers.scannetpp.iphone_depth": "FAR>MAX_DEPTH_M metres>to_meters",
    "scenes.readers.structured3d.annotations": "FAR>MAX_COORDINATE_M",
    "scenes.readers.structured3d.reader": "vote>majority_label PURITY>MIN_VOTE_SHARE cut_view>perspective_crop",
    "scenes.procedural.layout": "Kind>RoomType KINDS>ROOM_TYPES fill_tops>place_on_surfaces open_walls>add_openings MOST>MAX_OBJECTS",
    "scenes.procedural.furniture": "Form>ObjectGeometry Look>Appearance Top>SupportSurface muted>sample_muted_color whole>full_top swivel>office_chair",
    "scenes.procedural.catalog": "Piece>ObjectModel finish>sample_material FINISHES>MATERIALS draw_size>sample_size make>build_object",
    "scenes.procedural.placement": "Placed>PlacedObject House>Layout Plan>RoomLayout Hole>WallOpening hang>mount_on_wall without>remove_subtree "
                                   "touching>overlapping GAP>CLEARANCE_M SEAM>WALL_OVERLAP_M LAP>TRIM_M structure>room_shell",
    "scenes.procedural.props": "tower>desktop_pc bear>stuffed_animal carton>cardboard_box",
    "scenes.procedural.primitives": "cushion>superellipsoid rod>cylinder stretched>scale tilted>rotate transformed>transform",
    "scenes.procedural.renderer": "Stage>RenderScene paint>render_color portrait>render_object lamps_of>place_lights",
    "scenes.procedural.textures": "shade>texture_color",
    "scenes.procedural.trajectory": "walk>plan_waypoints gaze>look_directions sway_jitter>handheld_jitter",
    # tasks
    "tasks.facts": "random_generator>rng_for IMAGES>IMAGES_PER_VIEW",
    "tasks.markers": "Mark>Marker bake>write_marked_images draw>draw_markers",
    "tasks.thresholds": "Rules>Thresholds",
    "tasks.scene_index": "Observation>SceneIndex observe>index_scene Sightings>SightingTable",
    "tasks.relations": "side>threshold_sign firm_rounding>is_rounding_stable firm_order>is_order_clear between>object_object_relation "
                       "to_observer>object_observer_relation same_by_eye>agrees_in_image five>five_slot_relation from_new_place>to_observer_frame",
    "tasks.frame_sets": "same_views>group_similar_frames pair_frames>overlapping_pairs chain>overlapping_triples wrapped>wrap_degrees",
    "tasks.preview": "sketch>preview_facts",
    "tasks.sampling.candidates": "Picks>CandidateTuples draw>sample_tuples single>single_candidates multi>multi_candidates video>video_candidates "
                                 "view_sets>sample_frame_triples distinct>markers_are_distinct caps>repetition_caps in_one_view>same_view_cap",
    "tasks.sampling.stratified": "choose>stratified_sample every>all_of within>in_range occurrence>cumcount dense>factorize codes>row_hash "
                                 "steps>log_bin halves>balanced_bools whole>sample_groups shares>share_caps",
    "tasks.sampling.debiasing": "odds>fit_conditional_logit chances>choice_probabilities even_odds>debias_by_rejection",
    "tasks.sampling.name_debiasing": "MOST>MAX_WEIGHT",
    "tasks.families.cross_view": "row_table>sighting_matrix alike>similar_boxes told_by_names>label_leakage",
    "tasks.families.nearest_object": "Drafts>OptionSets draft>sample_option_sets two_best>best_and_runner_up ENOUGH>MIN_QUESTIONS",
    "tasks.families.video": "told_by_words>text_leakage first_frames>first_appearances LEARNED>MAX_SAMPLES_PER_QUESTION FEWEST>MIN_SAMPLES",
    # language
    "language.templates": "Words>Templates Wording>TaskTemplates load_words>load_templates LEAST>MIN_TEMPLATES",
    "language.questions": "Shape>PromptSpec SHAPES>PROMPT_SPECS NAMED>NAMED_SHARE phrase>write_questions Phrased>QuestionText",
    "language.names": "Content>QuestionFields NAMELESS>GENERIC_NAME rows_of>columns_to_rows",
    "language.answer_text": "listed>join_with_and metres>format_meters",
    "language.builders.content": "Make>Builder",
    "language.builders.relations": "FIVE>SLOT_VOCABULARY",
    "language.options.placement": "letters>balanced_positions place_gold>insert_answer THIN>MIN_EDITED_SIDE_CM",
    "language.options.relations": "DESIGNS>OPTION_DESIGNS",
    "language.options.numbers": "open_numbers>debias_number_options usual>mean_by_label FEWEST>MIN_SAMPLES LEAST>MIN_DIFFERENCE SHARE>MIN_RELATIVE_DIFFERENCE",
    # oracle
    "oracle.evidence.scene_files": "Wrong>MismatchError Unusable>NotCheckableError Thing>ObjectBox Sight>InstanceImage Folder>SceneFolder "
                                   "AGREEMENT>MIN_INSIDE_SHARE",
    "oracle.evidence.record": "Form>TaskSpec FORMS>TASK_SPECS Rules>Thresholds",
    "oracle.evidence.rgbd_views": "Look>RgbdView Release>ReleasedScene Cloud>PointRange",
    "oracle.evidence.markers": "NAMELESS>GENERIC_NAME THIN>MAX_OVERHANG_SHARE",
    "oracle.text.parse": "squeeze>normalize_text IT>NAME_TOKEN",
    "oracle.text.roles": "mentions>tag_mentions found>objects_with_role given>object_with_depth expected>expected_roles CUES>ROLE_PATTERNS",
    "oracle.answers.values": "SLACK>ROUNDING_TOLERANCE",
    "oracle.derive.single_view": "stated>check_stated edge>dead_zone turned>rotation_change between>signs_between",
    "oracle.derive.navigation": "spot>position_at swing>format_turn away_from>detour",
    "oracle.visibility.checks": "Looking>RayCheckConfig Witness>SceneRays unclear>visibility_problem evident>is_obvious grain>pixel_tolerance "
                                "bearers>objects_with_label marked>marked_objects named>check_named GLIMPSE>GLIMPSE_TOLERANCE THIN>BOX_TOLERANCE",
    "oracle.visibility.rays": "Shot>RayMask NEAR>NEAR_PLANE_M PLACES>SURFACE_SAMPLES DEEP>DEPTH_TOLERANCE spread>sample_surface_points",
    "oracle.evidence.floor": "NEAR>WALL_DISTANCE_M",
    # train
    "train.warmup.vision": "open_eyes>warm_up_vision_tower Readers>ProbeHeads told>soft_bins TOPICS>TOKEN_TARGETS LEVELS>NUM_BINS Depths>DepthGridCache",
    "train.warmup.grounding": "Seen>VisibleObjects read_seen>load_visible_objects basic_turns>localization_turns short_turns>short_answer_turns "
                              "ScatteredMarkers>RandomMarkers",
    "train.warmup.optim": "orthogonal>newton_schulz QUINTIC>NS_COEFFICIENTS MATRIX_RATE>MUON_LR_RATIO",
    "train.models": "model_card>read_metadata place_waves>sincos_position_embedding",
    "train.pipeline": "run>train FIRST>STAGE1_FIELDS",
    "train.collate": "Pictures>ImageLoader",
    # bench
    "bench.predictions": "fingerprint>content_hash Answers>PredictionWriter answer_row>prediction_record",
    "bench.prompts": "Images>ImageMode IMAGES>IMAGE_MODES view_as>apply_image_mode spread>sample_evenly",
    "bench.models.local": "predict_views>predict_image_modes ask>run_predictions answer>generate_answers sample_of>to_sample HOPELESS>MAX_INITIAL_FAILURES",
    "bench.models.server": "ask_views>ask_image_modes ask>ask_server evenly>spaced_items Pace>RateLimiter _clock>_format_duration",
    "bench.models.client": "AskAgain>RetryableError Refused>RequestRejected attempt>send_request LARGEST>MAX_REPLY_BYTES",
    "bench.rows": "LARGEST>MAX_FILE_BYTES",
    "bench.scorers.answer_span": "final_part>final_answer_span clean>normalize_text",
    "bench.scorers.disagreements": "Flavour>Scorer failure>failure_reason in_benchmark>is_scored_by_benchmark rules>explain_difference",
    "bench.scorers.comparison": "in_words>format_table",
    "bench.scorers.table": "summarise>summarize_scores",
    "bench.scorers.easi": "read_easi_letter>parse_easi_letter read_easi_number>parse_easi_number read_easi_movement>parse_easi_movement",
    "bench.scorers.official": "read_official_number>parse_official_number read_official_movement>parse_official_movement",
    "bench.scorers.parse_choice": "read_letter>parse_letter read_option>parse_option read_judge>parse_judge read_color>parse_color read_name>parse_name "
                                  "read_object>parse_object",
    "bench.scorers.parse_numbers": "read_quantities>parse_quantities read_numbers>parse_numbers read_number>parse_number read_movement>parse_movement "
                                   "read_box>parse_box read_camera>parse_camera read_size>parse_size",
    "bench.scorers.parse_statements": "read_frames>parse_frames read_order>parse_order read_relation>parse_relation read_map>parse_map read_route>parse_route",
    "bench.analysis.statistics": "tail>expanded_alpha group_means>bootstrap_means sign_flip>sign_flip_test items_needed>required_sample_size "
                                 "paired>paired_difference best_of>best_run_per_task",
    "bench.analysis.published": "beside>compare_with_published ranking>leaderboard",
    "bench.baselines.text_forest": "Question>ParsedQuestion read_question>parse_question best_number>mra_optimal_constant "
                                   "text_answers>predict_with_forest constant_answers>predict_constant",
    "bench.baselines.name_linear": "name_answers>predict_with_names named>find_names",
    "bench.baselines.audit": "Attack>BaselineScore Finding>TaskAudit chosen_elsewhere>cross_validated_best RULES>HEURISTICS SLACK>LIMIT_TOLERANCE",
    "bench.baselines.blind": "gap_over_blind>blind_gap",
    "bench.baselines.chance": "adjust>chance_adjusted",
    "bench.interop.prediction_files": "sniff>detect_format guard>escape_cell unguard>unescape_cell",
    "bench.interop.lmms_eval": "evaluate_elsewhere>run_lmms_eval whole_model>merged_checkpoint",
    "bench.interop.source_bundle": "standalone>bundle_source",
    # report, runs, cli
    "runs.components": "Fragment>Html tiles>metric_tiles marked_text>highlight_supervised breakable>escape_breakable short>format_value picture>image_html",
    "report.page": "Piece>Block",
    "report.run_set": "Runs>RunSet points>format_score p_value>format_p",
    "report.score_report": "open_pictures>load_question_images compare_files>write_score_report",
    "report.explanations": "Exhibit>ExampleRecord WHY>EXPLANATIONS Why>Explanation",
    "report.notebook_report": "directives>cell_options build>build_report _took>_format_duration",
    "core.parameters": "explain>to_config_error",
    "runs.plan": "parse_setting>parse_override",
    "runs.cache_keys": "fingerprint>content_hash",
    "runs.sweep": "tidy_streams>clean_streams clock>format_duration Outcome>RunResult expand>expand_grid",
    "cli.doctor": "Finding>Check examine>run_checks",
    "cli.speed": "yardstick>reference_time whole_scene_apart>scene_time_in_subprocess best_of>fastest_of",
    "cli.data": "MOST>MAX_COUNT Images>ImageCopyOption",
}

# class or function (as it is called before the renaming; * for any part) -> fields, methods, parameters
ATTRIBUTES = {
    "scenes.scene.Camera": "to_mille>to_permille",
    "scenes.scene.OrientedBox": "around>fit upright>gravity_aligned",
    "scenes.geometry.undistort.Lens": "straight>is_pinhole",
    "scenes.readers.scannet.exported_frames.FrameTree": "doubled>duplicate_frames",
    "scenes.readers.scannetpp.iphone_depth.DepthBin": "torn>truncated",
    "scenes.procedural.furniture.Look": "coin>chance",
    "scenes.procedural.catalog.Category": "holds>supports rests>support",
    "scenes.procedural.placement.Plan": "loose>place_freely",
    "tasks.scene_index.Observation": "seen>clear_sightings glimpsed>all_sightings lone>has_unique_label spoiled>shows_unaskable chains>frame_triples "
                                     "label>label_id floor_shown>floor_coverage",
    "tasks.relations.Relation": "firm>unambiguous",
    "language.names.Content": "spoken>sentence_fields",
    "oracle.evidence.scene_files.Pose": "see>to_camera",
    "oracle.evidence.scene_files.Thing": "offcut>distance_outside",
    "oracle.answers.*": "reads>parse right>is_correct apart>are_distinct told>check_sentence",
    "oracle.derive.*": "reads>parse right>is_correct apart>are_distinct told>check_sentence",
    "oracle.evidence.rgbd_views.Cloud": "usual>likely possible>feasible",
    "oracle.text.statements.Statement": "says>claims",
    "bench.models.server.Pace": "turn>acquire pause>back_off",
    "bench.benchmarks.Benchmark": "ask>select_items",
    "bench.baselines.audit.Audit": "grown>is_generated",
    "report.run_set.Runs": "seeing>with_images leads>gains flavoured>by_scorer unit>resampling_unit",
    "report.explanations.Exhibit": "fan>horizontal_fov",
    "cli.doctor.Finding": "remedy>fix",
}

# file:function.variable -> new; local variables that a new name would meet. The function's path is dotted and empty for a notebook's own level.
LOCALS = {
}

# attributes that objects of libraries have: never renamed by their name alone
LIBRARY_ATTRIBUTES = {"see", "ask", "label", "fit", "turn", "pause", "unit", "right", "told", "usual"}

# attributes of objects without a type that were looked at by eye: in these files all of them are the renamed ones
BY_FILE = {
    "tests/test_tasks.py": "seen>clear_sightings",
    "nbs/tasks/families/40_spatial_imagination.ipynb": "seen>clear_sightings",
}
