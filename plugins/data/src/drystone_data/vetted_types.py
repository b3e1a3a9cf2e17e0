"""What may be loaded from a skops archive without being named in `Artifact(trusted=[...])`.

skops trusts public estimators, numpy arrays and plain values. It leaves out what fitted estimators of scikit-learn hold
inside, `TreePredictor` and `Tree` among them. A name is added here when three things hold: it is code of scikit-learn,
scipy or numpy; making an object of it runs nothing that the archive could choose; and a fitted estimator holds it.
`PyFuncDistance` is not here: it calls any function. Nor is `functools.partial`, but one that holds a function from this
list is as good as the function.

skops leaves out the trees because a forged one can make a prediction read outside its arrays. Here the bytes of an
archive are those that `save` wrote: every blob is checked against the digest in the ledger when it is read.
"""

from __future__ import annotations

_VETTED = {
    "numpy": "dtype mean median",
    "scipy._lib.array_api_compat.numpy._aliases": "asarray",
    "scipy.interpolate._bsplines": "BSpline _BSpline",
    "scipy.sparse._bsr": "bsr_array bsr_matrix",
    "scipy.sparse._coo": "coo_array coo_matrix",
    "scipy.sparse._csc": "csc_array csc_matrix",
    "scipy.sparse._csr": "csr_array csr_matrix",
    "scipy.sparse._dia": "dia_array dia_matrix",
    "sklearn._loss.link": "HalfLogitLink IdentityLink Interval LogLink LogitLink MultinomialLogit",
    "sklearn._loss.loss": """AbsoluteError ExponentialLoss HalfBinomialLoss HalfBinomialLossArrayAPI HalfGammaLoss
        HalfMultinomialLoss HalfMultinomialLossArrayAPI HalfPoissonLoss HalfPoissonLossArrayAPI HalfSquaredError
        HalfTweedieLoss HalfTweedieLossIdentity HuberLoss PinballLoss""",
    "sklearn.calibration": "_CalibratedClassifier _SigmoidCalibration _TemperatureScaling",
    "sklearn.cluster._bisect_k_means": "_BisectingTree",
    "sklearn.cluster._kmeans": "_kmeans_single_elkan _kmeans_single_lloyd",
    "sklearn.compose._column_transformer": "_RemainderColsList make_column_selector",
    "sklearn.ensemble._hist_gradient_boosting.binning": "_BinMapper",
    "sklearn.ensemble._hist_gradient_boosting.predictor": "TreePredictor",
    "sklearn.feature_selection._mutual_info": "mutual_info_classif mutual_info_regression",
    "sklearn.feature_selection._univariate_selection": "chi2 f_classif f_oneway f_regression r_regression",
    "sklearn.gaussian_process._gpc": "_BinaryGaussianProcessClassifierLaplace",
    "sklearn.gaussian_process.kernels": """CompoundKernel ConstantKernel DotProduct ExpSineSquared Exponentiation
        Hyperparameter Matern PairwiseKernel Product RBF RationalQuadratic Sum WhiteKernel""",
    "sklearn.metrics._classification": """accuracy_score balanced_accuracy_score brier_score_loss cohen_kappa_score
        d2_brier_score d2_log_loss_score f1_score fbeta_score hamming_loss hinge_loss jaccard_score log_loss
        matthews_corrcoef precision_score recall_score zero_one_loss""",
    "sklearn.metrics._dist_metrics": """BrayCurtisDistance32 BrayCurtisDistance64 CanberraDistance32 CanberraDistance64
        ChebyshevDistance32 ChebyshevDistance64 DiceDistance32 DiceDistance64 EuclideanDistance32 EuclideanDistance64
        HammingDistance32 HammingDistance64 HaversineDistance32 HaversineDistance64 JaccardDistance32 JaccardDistance64
        MahalanobisDistance32 MahalanobisDistance64 ManhattanDistance32 ManhattanDistance64 MatchingDistance32
        MatchingDistance64 MinkowskiDistance32 MinkowskiDistance64 RogersTanimotoDistance32 RogersTanimotoDistance64
        RussellRaoDistance32 RussellRaoDistance64 SEuclideanDistance32 SEuclideanDistance64 SokalMichenerDistance32
        SokalMichenerDistance64 SokalSneathDistance32 SokalSneathDistance64""",
    "sklearn.metrics._ranking": """average_precision_score dcg_score label_ranking_average_precision_score
        label_ranking_loss ndcg_score roc_auc_score top_k_accuracy_score""",
    "sklearn.metrics._regression": """d2_absolute_error_score d2_pinball_score d2_tweedie_score explained_variance_score
        max_error mean_absolute_error mean_absolute_percentage_error mean_gamma_deviance mean_pinball_loss
        mean_poisson_deviance mean_squared_error mean_squared_log_error mean_tweedie_deviance median_absolute_error
        r2_score root_mean_squared_error root_mean_squared_log_error""",
    "sklearn.metrics._scorer": "_CurveScorer _MultimetricScorer _PassthroughScorer _Scorer",
    "sklearn.metrics.cluster._supervised": """adjusted_mutual_info_score adjusted_rand_score completeness_score
        fowlkes_mallows_score homogeneity_score mutual_info_score normalized_mutual_info_score rand_score
        v_measure_score""",
    "sklearn.metrics.pairwise": """additive_chi2_kernel chi2_kernel cosine_distances cosine_similarity
        euclidean_distances haversine_distances laplacian_kernel linear_kernel manhattan_distances
        nan_euclidean_distances polynomial_kernel rbf_kernel sigmoid_kernel""",
    "sklearn.model_selection._search": "ParameterGrid",
    "sklearn.model_selection._search_successive_halving": "HalvingGridSearchCV HalvingRandomSearchCV",
    "sklearn.model_selection._split": """GroupKFold GroupShuffleSplit KFold LeaveOneGroupOut LeaveOneOut LeavePGroupsOut
        LeavePOut PredefinedSplit RepeatedKFold RepeatedStratifiedKFold ShuffleSplit StratifiedGroupKFold
        StratifiedKFold StratifiedShuffleSplit TimeSeriesSplit""",
    "sklearn.multiclass": "_ConstantPredictor",
    "sklearn.neighbors._ball_tree": "BallTree BallTree32 BallTree64",
    "sklearn.neighbors._kd_tree": "KDTree KDTree32 KDTree64",
    "sklearn.neural_network._stochastic_optimizers": "AdamOptimizer SGDOptimizer",
    "sklearn.tree._tree": "Tree",
    "sklearn.utils._bunch": "Bunch",
    "sklearn.utils._metadata_requests": "MetadataRequest MethodMetadataRequest",
    "sklearn.utils.validation": "check_array",
}

VETTED = frozenset(f"{module}.{name}" for module, names in _VETTED.items() for name in names.split())
"""Full names, as skops writes them."""
