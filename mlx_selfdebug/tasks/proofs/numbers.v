(* Theorems on natural numbers. *)
Require Import Arith.

(* task: One and one is two.
   wrong: simpl.
   pass_rate: 1
   difficulty: easy *)
Theorem one_and_one : 1 + 1 = 2.
Proof.
  reflexivity.
Qed.

(* task: Zero is neutral on the left of a sum.
   wrong: intros.
   pass_rate: 0.75
   difficulty: easy *)
Theorem zero_plus : forall n : nat, 0 + n = n.
Proof.
  intros n.
  reflexivity.
Qed.

(* task: Zero is neutral on the right of a sum.
   wrong: intros n. reflexivity.
   wrong: intros n. simpl. reflexivity.
   pass_rate: 0
   difficulty: hard *)
Theorem plus_zero : forall n : nat, n + 0 = n.
Proof.
  induction n as [| n IH].
  - reflexivity.
  - simpl. rewrite IH. reflexivity.
Qed.

(* task: A successor moves out of the left side of a sum.
   wrong: intros n m. induction m.
   pass_rate: 0.125
   difficulty: hard *)
Theorem successor_plus : forall n m : nat, S n + m = S (n + m).
Proof.
  intros n m.
  reflexivity.
Qed.

(* task: A successor moves out of the right side of a sum.
   wrong: intros n m. reflexivity.
   pass_rate: 0.5
   difficulty: medium *)
Theorem plus_successor : forall n m : nat, n + S m = S (n + m).
Proof.
  intros n m.
  induction n as [| n IH].
  - reflexivity.
  - simpl. rewrite IH. reflexivity.
Qed.

(* task: Addition is commutative.
   wrong: intros n m. reflexivity.
   wrong: intros n m. induction n. reflexivity.
   pass_rate: 0
   difficulty: hard *)
Theorem plus_commutes : forall n m : nat, n + m = m + n.
Proof.
  intros n m.
  apply Nat.add_comm.
Qed.

(* task: Addition is associative.
   wrong: intros n m p. reflexivity.
   pass_rate: 0
   difficulty: hard *)
Theorem plus_associates : forall n m p : nat, n + (m + p) = (n + m) + p.
Proof.
  intros n m p.
  induction n as [| n IH].
  - reflexivity.
  - simpl. rewrite IH. reflexivity.
Qed.

(* task: Zero times a number is zero.
   wrong: intros n.
   pass_rate: 0.875
   difficulty: easy *)
Theorem zero_times : forall n : nat, 0 * n = 0.
Proof.
  intros n.
  reflexivity.
Qed.

(* task: A number times zero is zero.
   wrong: intros n. reflexivity.
   pass_rate: 0.125
   difficulty: hard *)
Theorem times_zero : forall n : nat, n * 0 = 0.
Proof.
  induction n as [| n IH].
  - reflexivity.
  - simpl. exact IH.
Qed.

(* task: One is neutral on the left of a product.
   wrong: intros n. reflexivity.
   pass_rate: 0
   difficulty: hard *)
Theorem one_times : forall n : nat, 1 * n = n.
Proof.
  intros n.
  simpl.
  apply Nat.add_0_r.
Qed.

(* task: If two numbers are equal, then so are their successors.
   wrong: intros n m. reflexivity.
   pass_rate: 0
   difficulty: hard *)
Theorem equal_successors : forall n m : nat, n = m -> S n = S m.
Proof.
  intros n m H.
  rewrite H.
  reflexivity.
Qed.

(* task: If the successors of two numbers are equal, then so are the numbers.
   wrong: intros n m H. reflexivity.
   wrong: intros n m H. rewrite H. reflexivity.
   pass_rate: 0
   difficulty: hard *)
Theorem successor_injective : forall n m : nat, S n = S m -> n = m.
Proof.
  intros n m H.
  injection H as H.
  exact H.
Qed.

(* task: Zero is not a successor.
   wrong: intros n. reflexivity.
   pass_rate: 0
   difficulty: hard *)
Theorem zero_no_successor : forall n : nat, 0 <> S n.
Proof.
  intros n H.
  discriminate H.
Qed.

(* task: Equality of numbers is symmetric.
   wrong: intros n m H. reflexivity.
   pass_rate: 0
   difficulty: hard *)
Theorem equal_symmetric : forall n m : nat, n = m -> m = n.
Proof.
  intros n m H.
  symmetry.
  exact H.
Qed.

(* task: Equality of numbers is transitive.
   wrong: intros n m p H. exact H.
   pass_rate: 0
   difficulty: hard *)
Theorem equal_transitive : forall n m p : nat, n = m -> m = p -> n = p.
Proof.
  intros n m p H1 H2.
  rewrite H1.
  exact H2.
Qed.

(* task: Every number is at most itself.
   wrong: intros n. reflexivity. induction n.
   pass_rate: 0.5
   difficulty: medium *)
Theorem at_most_itself : forall n : nat, n <= n.
Proof.
  intros n.
  apply le_n.
Qed.

(* task: Zero is at most every number.
   wrong: intros n. reflexivity.
   pass_rate: 0
   difficulty: hard *)
Theorem zero_least : forall n : nat, 0 <= n.
Proof.
  induction n as [| n IH].
  - apply le_n.
  - apply le_S. exact IH.
Qed.

(* task: Every number is less than its successor.
   wrong: intros n. discriminate.
   pass_rate: 0
   difficulty: hard *)
Theorem less_than_successor : forall n : nat, n < S n.
Proof.
  intros n.
  apply le_n.
Qed.

(* task: There is a number that is larger than 5.
   wrong: exists 5. auto.
   pass_rate: 0
   difficulty: hard *)
Theorem larger_than_five : exists n : nat, 5 < n.
Proof.
  exists 6.
  apply le_n.
Qed.

(* task: Multiplication distributes over addition.
   wrong: intros a b c. reflexivity.
   wrong: intros a b c. ring_simplify.
   pass_rate: 0
   difficulty: hard *)
Theorem times_plus : forall a b c : nat, a * (b + c) = a * b + a * c.
Proof.
  intros a b c.
  apply Nat.mul_add_distr_l.
Qed.
